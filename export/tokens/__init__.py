"""A model that takes tokens in place of ids.

Imports `export.models`, `export.operators` and `export.verification`.
"""
