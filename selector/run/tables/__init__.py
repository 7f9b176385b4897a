"""One budget over many tables: the curve of each, the split between them, and the hand-over of all.

What is done with each of them is that of the main job, in `selector.run`.
"""
