"""Rows as float16: the rows rounded, and where by a table alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eigenselect.export.choices import Target
from eigenselect.export.operators.decode import decode_graph
from eigenselect.export.operators.graph import Node
from eigenselect.export.operators.passes import half_rows
from tests.cases import CASES, payload_of
from tests.export.graphs import model_of, run

IDS = np.arange(300)


@pytest.mark.parametrize(
    "name", ["uniform-b3", "uniform-b4", "kmeans-b4", "float16", "pca-k6-keep-uniform-b4", "float32"]
)
@pytest.mark.parametrize("target", ["portable", "cpu"])
def test_rows_are_rounded(name: str, target: Target) -> None:
    (case,) = (case for case in CASES if case.id == name)
    payload = payload_of(case, "gaussian")
    graph = half_rows(decode_graph(payload, "ids", "some.", target=target))
    got = run(model_of(graph, payload.k, IDS, half=True), IDS)
    assert got.dtype == np.float16
    expected = payload.read(IDS).astype(np.float16)
    if case.parity == "bit" and (name != "uniform-b3" or target != "cpu"):
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got.astype(float), expected, rtol=2e-3)
    tables = {"kmeans-b4": "some.lut", "float32": "some.table", "uniform-b4": "some.lut"}
    if name in tables and (name, target) != ("uniform-b4", "cpu"):
        assert len(graph.nodes) == 1 and graph.arrays[tables[name]].dtype == np.float16
    else:
        assert graph.nodes[-1].op == "Cast"


def test_a_table_that_another_node_uses_stays_as_it_is() -> None:
    (case,) = (case for case in CASES if case.id == "kmeans-b4")
    graph = decode_graph(payload_of(case, "gaussian"), "ids", "some.")
    used = dataclasses.replace(graph, nodes=(Node("Shape", ("some.lut",), "other"), *graph.nodes))
    made = half_rows(used)
    assert made.arrays["some.lut"].dtype == np.float32
    assert [node.name for node in made.named()] == ["Shape_0", "some.DequantizeGather_1", "some.Cast_2"]
