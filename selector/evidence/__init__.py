"""Downstream evidence: how well each measure foretells what models trained on a candidate reach.

Nothing on the way from a table to a choice imports from here.
"""
