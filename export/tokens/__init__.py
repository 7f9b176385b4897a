"""Models of tokens and of texts: one that takes tokens in place of ids, those that give a vector for a text.

Imports `export.models`, `export.operators` and `export.verification`.
"""
