"""Sums of planes: which become one operator, under which names, and that it gives the same rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.compressors.payloads.composed import Projected, Sum
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.export.operators.graph import Graph, Node
from eigenselect.export.operators.passes import joined_planes, linear_codes
from tests.cases import gaussian
from tests.export.graphs import model_of, names, plain, run

IDS = np.arange(40)


def planes(bits: int) -> Sum:
    """Codes of `bits` bits in planes."""
    made = Uniform(bits).compress(EmbeddingTable(gaussian(40, 13)), np.random.default_rng(0))
    assert isinstance(made, Sum)
    return made


def separate(payload: Sum | Projected, opset: int = 18) -> Graph:
    """The planes as operators of their own."""
    return linear_codes(plain(payload, opset=opset))


@pytest.mark.parametrize(("bits", "number"), [(3, 2), (5, 2), (6, 2), (7, 4)])
def test_planes_of_one_code_are_joined(bits: int, number: int) -> None:
    payload = planes(bits)
    graph = joined_planes(separate(payload))
    assert names(graph) == [f"some.DequantizeGatherU{bits}_{number}"]
    packed = [f"some.parts.{i}.packed" for i in range(len(payload.parts))]
    assert [*graph.arrays] == [*packed, f"{packed[0]}.scale", f"{packed[0]}.zero_point"]
    np.testing.assert_allclose(run(model_of(graph, 13, IDS), IDS), payload.read(IDS), rtol=1e-6, atol=1e-6)


def test_planes_in_a_sum_of_their_own_are_joined() -> None:
    high, middle, low = planes(7).parts
    payload = Sum((high, Sum((middle, low))))
    graph = joined_planes(separate(payload))
    assert names(graph) == ["some.DequantizeGatherU7_4"]
    np.testing.assert_allclose(run(model_of(graph, 13, IDS), IDS), payload.read(IDS), rtol=1e-6, atol=1e-6)


def test_what_comes_after_keeps_its_name() -> None:
    payload = Projected(planes(3), gaussian(13, 5))
    assert names(joined_planes(separate(payload))) == ["some.part.DequantizeGatherU3_2", "some.MatMul_3"]


def test_not_before_there_are_masks() -> None:
    graph = separate(planes(3), opset=17)
    assert joined_planes(graph) is graph


def test_not_what_another_node_uses() -> None:
    graph = separate(planes(3))
    more = Node("Mul", (graph.nodes[-1].output, graph.nodes[0].output), "more")
    used = dataclasses.replace(graph, nodes=(*graph.nodes, more))
    assert joined_planes(used) is used


def test_not_what_is_not_right_before_the_sum() -> None:
    graph = separate(planes(3))
    between = Node("Shape", ("ids",), "between")
    apart = dataclasses.replace(graph, nodes=(*graph.nodes[:2], between, graph.nodes[2]))
    assert joined_planes(apart) is apart


@pytest.mark.parametrize("change", ["scale", "zero_point", "ids", "dim", "order"])
def test_not_planes_of_different_codes(change: str) -> None:
    graph = separate(planes(3))
    high, low, total = graph.nodes
    arrays = dict(graph.arrays)
    match change:
        case "scale":
            arrays[low.inputs[1]] = arrays[low.inputs[1]] * np.float32(2)
        case "zero_point":
            arrays[low.inputs[2]] = np.array(1, np.uint8)
        case "ids":
            low = dataclasses.replace(low, inputs=(*low.inputs[:3], "others"))
        case "dim":
            low = dataclasses.replace(low, attributes={"dim": 12})
        case "order":
            high, low, total = low, high, dataclasses.replace(total, inputs=total.inputs[::-1])
    other = dataclasses.replace(graph, nodes=(high, low, total), arrays=arrays)
    assert joined_planes(other) is other


def test_not_planes_that_no_code_is_split_into() -> None:
    # Two bits in two planes, of which there is an operator of one plane.
    bits = np.random.default_rng(0).integers(0, 256, (2, 40, 2), dtype=np.uint8)
    high, low = (Packed(b, np.array([[0], [step]], np.float32), 13) for b, step in zip(bits, (2, 1), strict=True))
    graph = separate(Sum((high, low)))
    assert [node.op for node in graph.nodes] == ["DequantizeGatherU1", "DequantizeGatherU1", "Add"]
    assert joined_planes(graph) is graph


def test_planes_of_different_codes_are_added() -> None:
    high, low = planes(3).parts
    assert isinstance(low, Packed)
    for other in (
        dataclasses.replace(low, codebook=low.codebook * np.float32(2)),
        dataclasses.replace(low, codebook=low.codebook - low.codebook[1]),
        high,
    ):
        mixed = Sum((high, other))
        graph = joined_planes(separate(mixed))
        assert graph.nodes[-1].op == "Add"
        np.testing.assert_array_equal(run(model_of(graph, 13, IDS), IDS), mixed.read(IDS))
