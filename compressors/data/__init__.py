"""The table and views of it: rows of floats, read in blocks.

Imports other files of this room and `compressors.threads`.
"""
