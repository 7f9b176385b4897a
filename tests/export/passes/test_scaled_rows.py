"""Rows and what they are multiplied by: which become one operator, and that it gives the same rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eigenselect.compressors import ByteCodebook, EmbeddingTable, KMeans, Spectral, TrellisCode, Uniform
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Scaled
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export.operators.graph import Node
from eigenselect.export.operators.passes import linear_codes, scaled_rows
from tests.cases import gaussian
from tests.export.graphs import model_of, names, plain, run

IDS = np.array([[3, -1, 0], [39, 7, 7]])

CODEBOOK, TRELLIS = ByteCodebook(4), TrellisCode(2, window=8)


def of(then: ByteCodebook | TrellisCode | KMeans, norm: str) -> Payload:
    made = Spectral(norm=norm, then=then, fold=True)  # type: ignore[arg-type]
    return made.compress(EmbeddingTable(gaussian(40, 13)), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("then", "norm", "name"),
    [
        (CODEBOOK, "float16", "DequantizeGatherScaled"),
        (CODEBOOK, "uint8", "DequantizeGatherScaledByCodes"),
        (TRELLIS, "float16", "TrellisGather2W8Scaled"),
        (TRELLIS, "uint8", "TrellisGather2W8ScaledByCodes"),
    ],
)
@pytest.mark.parametrize("opset", [13, 18])
def test_rows_and_their_scales_are_one_operator(
    then: ByteCodebook | TrellisCode, norm: str, name: str, opset: int
) -> None:
    payload = of(then, norm)
    graph = plain(payload, opset=opset)
    made = scaled_rows(graph)
    assert len(made.nodes) == 1 and made.arrays == graph.arrays
    assert names(made) == [f"some.part.{name}_{len(graph.nodes) - 1}"]
    np.testing.assert_array_equal(run(model_of(made, 13, IDS), IDS), payload.read(IDS), strict=True)


def test_evenly_spaced_codes_are_scaled_too() -> None:
    rows = np.arange(16, dtype=np.float32)[:, None] + 1
    part = Uniform(2).compress(EmbeddingTable(gaussian(16, 9)), np.random.default_rng(0))
    payload = Scaled(part, Dense(rows.astype(np.float16)))
    made = scaled_rows(linear_codes(plain(payload)))
    assert [node.op for node in made.nodes] == ["DequantizeGatherU2Scaled"]
    ids = np.arange(16)
    np.testing.assert_allclose(run(model_of(made, 9, ids), ids), payload.read(ids), rtol=1e-6)


def test_what_is_used_otherwise_or_scaled_otherwise_stays_as_it_is() -> None:
    graph = plain(of(CODEBOOK, "float16"))
    rows, column = graph.nodes[0].output, graph.nodes[2].output
    for name in (rows, column, graph.nodes[1].output):
        used = dataclasses.replace(graph, nodes=(*graph.nodes[:-1], Node("Shape", (name,), "other"), graph.nodes[-1]))
        assert scaled_rows(used) == used
    other = dataclasses.replace(graph.nodes[1], inputs=(graph.nodes[1].inputs[0], "others"))
    of_others = dataclasses.replace(graph, nodes=(graph.nodes[0], other, *graph.nodes[2:]))
    assert scaled_rows(of_others) == of_others
    for scales in (np.ones((6, 1), np.float32), np.ones((6, 4), np.float16)):
        part = CODEBOOK.compress(EmbeddingTable(gaussian(6, 4)), np.random.default_rng(0))
        entries = plain(Scaled(part, Dense(scales)))
        assert scaled_rows(entries) == entries
    three = plain(of(KMeans(3), "float16"))  # levels are looked up by a sum
    assert scaled_rows(three) == three
