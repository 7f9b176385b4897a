"""The table and views of it: rows of floats, read in blocks.

Imports nothing of ours but other files of this room.
"""
