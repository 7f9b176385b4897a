"""What a compressed table is: the payload kinds, the verbs of their one decode, and their files.

Imports nothing of ours but other files of this room: a payload does not know the method that made it.
"""
