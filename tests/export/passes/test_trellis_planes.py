"""Sums of trellis codes: which become one operator, under which names, and that it gives the same rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import plane_bytes, plane_widths
from eigenselect.compressors.payloads.composed import Projected, Scaled, Sum
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.trellis import Trellis
from eigenselect.export.operators.graph import Node
from eigenselect.export.operators.passes import scaled_rows, trellis_planes
from tests.cases import gaussian
from tests.export.graphs import model_of, names, plain, run

IDS = np.array([[3, -1, 0], [39, 7, 7]])
D = 13


def code(bits: int, window: int = 9, seed: int = 0, dim: int = D) -> Payload:
    rng = np.random.default_rng(seed + bits)
    packed = rng.integers(0, 256, (40, plane_bytes(dim, bits)), dtype=np.uint8)
    return Trellis(packed, rng.standard_normal(1 << window, dtype=np.float32), bits, dim)


def planes(bits: int) -> Sum:
    return Sum(tuple(code(width) for width in plane_widths(bits)))


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("bits", "number"), [(3, 2), (5, 2), (6, 2), (7, 4)])
def test_planes_of_one_code_are_one_operator(bits: int, number: int, opset: int) -> None:
    payload = planes(bits)
    graph = trellis_planes(before := plain(payload, opset=opset))
    assert names(graph) == [f"some.TrellisGather{bits}W9_{number}"] and graph.arrays == before.arrays
    assert [name.split(".")[-1] for name in graph.nodes[0].inputs[:-1]] == ["packed"] * len(payload.parts) + [
        "levels"
    ] * len(payload.parts)
    np.testing.assert_array_equal(run(model_of(graph, D, IDS), IDS), payload.read(IDS), strict=True)


def test_they_are_scaled_and_what_comes_after_keeps_its_name() -> None:
    scales = Dense(np.random.default_rng(1).standard_normal((40, 1)).astype(np.float16))
    payload = Projected(Scaled(planes(3), scales), gaussian(D, 5))
    graph = scaled_rows(trellis_planes(before := plain(payload)))
    assert names(graph) == ["some.part.TrellisGather3W9Scaled_5", names(before)[-1]]
    np.testing.assert_allclose(run(model_of(graph, 5, IDS), IDS), payload.read(IDS), rtol=1e-5, atol=1e-5)


def test_other_sums_stay_as_they_are() -> None:
    high, low = code(2), code(1)
    for parts in ((low, high), (high, code(2, seed=5)), (high, code(1, window=8)), (high, Dense(gaussian(40, D)))):
        graph = plain(Sum(parts))
        assert trellis_planes(graph) is graph
    graph = plain(Sum((high, low)))
    for name in (graph.nodes[0].output, graph.nodes[1].output):
        used = dataclasses.replace(graph, nodes=(*graph.nodes[:-1], Node("Shape", (name,), "other"), graph.nodes[-1]))
        assert trellis_planes(used) is used
    other = dataclasses.replace(graph.nodes[1], inputs=(*graph.nodes[1].inputs[:-1], "others"))
    of_others = dataclasses.replace(graph, nodes=(graph.nodes[0], other, graph.nodes[2]))
    assert trellis_planes(of_others) is of_others
