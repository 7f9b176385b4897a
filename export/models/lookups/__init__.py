"""Lookups of rows: which nodes they are, by which ids, and the float rows that are made of what they give.

There is a file for each form of node. A further form is such a file, and its line in `places.FORMS`.
"""
