"""Rewritings of a decode's graph, `Graph -> Graph`, each for operators that are faster or smaller.

A pass keeps what the graph computes, and that its last node gives the rows. Imports the graph and the operators.
"""

from eigenselect.export.operators.passes.half_rows import half_rows
from eigenselect.export.operators.passes.joined_planes import joined_planes
from eigenselect.export.operators.passes.linear_codes import linear_codes
from eigenselect.export.operators.passes.scaled_rows import scaled_rows
from eigenselect.export.operators.passes.trellis_columns import trellis_columns
from eigenselect.export.operators.passes.trellis_planes import trellis_planes

__all__ = ["half_rows", "joined_planes", "linear_codes", "scaled_rows", "trellis_columns", "trellis_planes"]
