"""Downstream evidence: how well each measure predicts what models trained on a candidate reach.

Nothing on the way from a table to a choice imports from here.
"""
