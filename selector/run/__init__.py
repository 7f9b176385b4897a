"""The main job: what is asked, the sweep, the hand-over.

May import every room of `selector` but `checking`, `evidence` and `commands`.
"""
