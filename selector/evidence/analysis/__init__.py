"""Statistics of measures against downstream scores, and the report of them.

Imports nothing of `selector.evidence` but itself.
"""
