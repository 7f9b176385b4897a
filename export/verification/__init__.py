"""Proof that an exported file is the payload: rows, bytes and memory.

Imports `compressors` alone, and `export.native` for its kernels.
"""
