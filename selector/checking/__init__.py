"""Is a hand-over what it was, and does a newer table ask for a new selection?

May import every room of `selector` but `evidence` and `commands`.
"""
