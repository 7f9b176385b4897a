"""ONNX models as they are found: scopes, constants, stored and external tensors, the tables in them, sessions.

Imports `export.operators`.
"""
