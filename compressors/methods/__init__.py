"""The compression methods, one a file, or a folder where a method has parts of its own.

May import every other room of `compressors`, and one method another.
"""
