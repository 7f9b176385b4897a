"""Sums of two planes of one code become one operator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eigenselect.compressors.payloads.bitpack import plane_widths
from eigenselect.export.operators.functions import MASKS_FROM, linear_bits, linear_name
from eigenselect.export.operators.graph import Graph, exchanged


def joined_planes(graph: Graph) -> Graph:
    """Sums of two planes of one code become one operator: a sum of bytes, not of floats.

    1. Before opset `MASKS_FROM` there is no such operator.
    2. Two planes are a high and a low `DequantizeGatherU{bits}`, one right after the other, that nothing but the `Add`
       right after them uses.
    3. Their bits follow each other in a code of at most 8 bits, which is split as `bitpack` splits it.
    4. They are of the same rows and columns, the low one has no zero point, and its steps make up one of the high one.
    5. The three become one `DequantizeGatherU{bits}` of the planes of both, with the scale and zero point of the high
       one. It stands for three nodes in the numbering.
    """
    if graph.opset < MASKS_FROM:
        return graph
    at = 2
    while at < len(graph.nodes):
        joined = _joined(graph, at)
        # A joined code may be either part of the next sum.
        graph, at = (graph, at + 1) if joined is None else (joined, max(2, at - 1))
    return graph


def _joined(graph: Graph, at: int) -> Graph | None:
    """The graph with one node for the sum `at` and the two before it, where they are planes of one code."""
    high, low, total = graph.nodes[at - 2 : at + 1]
    high_bits, low_bits = linear_bits(high.op), linear_bits(low.op)
    if (
        high_bits is None
        or low_bits is None
        or (total.op, total.inputs) != ("Add", (high.output, low.output))
        or graph.uses(high.output) + graph.uses(low.output) != 2
    ):
        return None
    bits = high_bits + low_bits
    if bits > 8 or plane_widths(bits) != [*plane_widths(high_bits), *plane_widths(low_bits)]:
        return None
    *high_planes, scale, zero_point, rows = high.inputs
    *low_planes, low_scale, low_zero_point, low_rows = low.inputs
    arrays = graph.arrays
    if (
        (rows, high.attributes["dim"]) != (low_rows, low.attributes["dim"])
        or arrays[low_zero_point] != 0
        or arrays[low_scale] * np.float32(1 << high_bits) != arrays[scale]
    ):
        return None
    inputs = (*high_planes, *low_planes, scale, zero_point, rows)
    return replace(
        graph.joined(linear_name(bits), inputs, high, low, total),
        arrays=exchanged(
            arrays,
            [scale, zero_point, low_scale, low_zero_point],
            {scale: arrays[scale], zero_point: arrays[zero_point]},
        ),
    )
