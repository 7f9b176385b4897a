"""Tasks: a module for each kind, `base` with what they share, `catalogue` with all that a folder holds.

May import `selector.evidence.analysis`, and of itself what `catalogue` lists.
"""
