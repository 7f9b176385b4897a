"""An existing model with its embedding table replaced by a payload, and the proof that the rest is as it was.

Imports `export.models`, `export.operators` and `export.verification`.
"""
