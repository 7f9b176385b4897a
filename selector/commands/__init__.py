"""The commands: words of a command line in, an exit code out. They parse, call and print, and decide nothing.

May import every room.
"""
