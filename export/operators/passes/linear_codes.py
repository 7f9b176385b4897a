"""Lookups of evenly spaced codes become arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.bitpack import planar, unpack_table
from eigenselect.compressors.payloads.ops import Array
from eigenselect.export.operators.functions import linear_name
from eigenselect.export.operators.graph import Graph, Node, exchanged


def linear_codes(graph: Graph) -> Graph:
    """Lookups of evenly spaced codes become arithmetic, which a CPU does four times as fast.

    1. A `DequantizeGather` stays as it is where another node uses its bytes or its table, where its table has other
       levels than evenly spaced ones, and where it has codes of less than 8 bits for another target than the cpu.
    2. Otherwise it becomes a `DequantizeGatherU{bits}` of the bytes, a scale and a zero point. The bytes are stored in
       another order of the columns, and the table not at all.
    3. An offset of the levels is added to what that gives.
    """
    for node in graph.nodes:
        if node.op == "DequantizeGather":
            graph = _rewritten(graph, node)
    return graph


def _rewritten(graph: Graph, node: Node) -> Graph:
    packed, lut, rows = node.inputs
    found = linear(graph.arrays[lut]) if graph.uses(packed) == graph.uses(lut) == 1 else None
    if found is None or (found.bits < 8 and graph.target != "cpu"):
        return graph
    scale, zero_point, offset = f"{packed}.scale", f"{packed}.zero_point", f"{node.scope}offset"
    arrays = {**graph.arrays, packed: planar(graph.arrays[packed], found.bits, node.attributes["dim"])}
    stored: dict[str, Array] = {scale: np.array(found.scale), zero_point: np.array(found.zero_point, np.uint8)}
    made = [replace(node, op=linear_name(found.bits), inputs=(packed, scale, zero_point, rows))]
    if found.offset:
        stored[offset] = np.array([found.offset])
        without = f"{node.output}.codes"
        made = [replace(made[0], output=without), Node("Add", (without, offset), node.output, node.scope)]
    nodes = [after for before in graph.nodes for after in (made if before is node else [before])]
    return replace(graph, nodes=tuple(nodes), arrays=exchanged(arrays, [lut], stored))


class Linear(NamedTuple):
    """Evenly spaced levels: (code * 2**(8 - bits) - zero_point) * scale + offset."""

    bits: int
    scale: np.float32
    zero_point: int
    offset: np.float32


def linear(lut: npt.NDArray[np.float32]) -> Linear | None:
    """The arithmetic that gives what bytes stand for to the bit, if there is one; lut (256, v)."""
    if lut.shape[1] not in (1, 2, 4, 8):
        return None
    bits = 8 // lut.shape[1]
    levels = lut[: 1 << bits, 0]
    codes = np.arange(1 << bits, dtype=np.float32) * np.float32(1 << (8 - bits))
    step = np.float32((float(levels[-1]) - float(levels[0])) / float(codes[-1]))
    if not np.array_equal(lut, levels[unpack_table(bits)]) or not np.isfinite(step) or step < np.finfo(np.float32).tiny:
        return None
    for scale in (step, np.nextafter(step, np.float32(0)), np.nextafter(step, np.float32(np.inf))):
        for offset in (np.float32(0), scale / np.float32(2)) if bits == 8 else (np.float32(0),):
            zero = round((float(offset) - float(levels[0])) / float(scale))
            if 0 <= zero <= 255 and np.array_equal((codes - np.float32(zero)) * scale + offset, levels):
                return Linear(bits, scale, zero, offset)
    return None
