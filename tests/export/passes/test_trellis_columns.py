"""Some columns of trellis codes: when they are one operator, and that it gives the same rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eigenselect.compressors.payloads.composed import Columns, Projected, Scaled
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export.operators.graph import Node
from eigenselect.export.operators.passes import scaled_rows, trellis_columns
from tests.cases import gaussian
from tests.export.graphs import model_of, names, plain, run
from tests.export.passes.test_trellis_planes import IDS, D, code

PLACES = np.array([12, 0, 3, 3, 7], np.int32)


@pytest.mark.parametrize("ids", [IDS, IDS[0, 0], IDS[:, :0]])
@pytest.mark.parametrize(("bits", "opset"), [(1, 18), (2, 13), (4, 15)])
def test_columns_of_a_code_are_one_operator(bits: int, opset: int, ids: np.ndarray) -> None:
    payload = Columns(code(bits), PLACES)
    graph = trellis_columns(before := plain(payload, opset=opset))
    assert names(graph) == [f"some.TrellisGather{bits}W9Columns_{len(before.nodes) - 1}"]
    assert [*graph.arrays] == ["some.part.packed", "some.part.levels", "some.places"]
    np.testing.assert_array_equal(run(model_of(graph, 5, np.array(ids)), np.array(ids)), payload.read(ids), strict=True)


def test_they_are_scaled_and_what_comes_after_keeps_its_name() -> None:
    scales = Dense(np.random.default_rng(1).standard_normal((40, 1)).astype(np.float16))
    payload = Projected(Scaled(Columns(code(1), PLACES), scales), gaussian(5, 4))
    before = plain(payload)
    graph = scaled_rows(trellis_columns(before))
    assert names(graph) == ["some.part.TrellisGather1W9ColumnsScaled_8", names(before)[-1]]
    np.testing.assert_allclose(run(model_of(graph, 4, IDS), IDS), payload.read(IDS), rtol=1e-5, atol=1e-5)


def test_columns_of_anything_else_stay_as_they_are() -> None:
    graph = plain(Columns(Dense(gaussian(40, D)), PLACES))
    assert trellis_columns(graph) is graph
    graph = plain(Columns(code(1), PLACES))
    for name in (graph.nodes[0].output, graph.nodes[-2].output):
        used = dataclasses.replace(graph, nodes=(*graph.nodes[:-1], Node("Shape", (name,), "other"), graph.nodes[-1]))
        assert trellis_columns(used) is used
