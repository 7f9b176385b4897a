"""Lookups of evenly spaced codes: which become arithmetic, and that it gives the same rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.compressors.codebooks.scalar import levels
from eigenselect.compressors.payloads.bitpack import pack, planar
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.export import to_onnx
from eigenselect.export.choices import Target
from eigenselect.export.operators.graph import Graph
from eigenselect.export.operators.passes.linear_codes import linear, linear_codes
from tests.cases import gaussian
from tests.export.graphs import model_of, names, plain, run

IDS = np.arange(40)


def even(bits: int, first: float = -0.5) -> Packed:
    """13 columns of codes of evenly spaced levels, `first` and then steps of a half."""
    codes = np.random.default_rng(0).integers(0, 1 << bits, (40, 13), dtype=np.uint8)
    book = (first + np.arange(1 << bits) / 2).astype(np.float32)
    return Packed(pack(codes, bits), book[:, None], 13)


def same_rows(payload: Packed, graph: Graph) -> None:
    np.testing.assert_array_equal(run(model_of(graph, payload.k, IDS), IDS), payload.read(IDS))


@pytest.mark.parametrize(("bits", "target"), [(8, "portable"), (8, "cuda"), *((bits, "cpu") for bits in (1, 2, 4, 8))])
def test_even_codes_are_arithmetic(bits: int, target: Target) -> None:
    payload = even(bits)
    graph = linear_codes(plain(payload, target=target))
    assert names(graph) == [f"some.DequantizeGatherU{bits}_0"]
    assert [*graph.arrays] == ["some.packed", "some.packed.scale", "some.packed.zero_point"]
    np.testing.assert_array_equal(graph.arrays["some.packed"], planar(payload.packed, bits, 13))
    same_rows(payload, graph)


def test_an_offset_is_added() -> None:
    graph = linear_codes(plain(even(8, -0.75)))
    assert names(graph) == ["some.DequantizeGatherU8_0", "some.Add_1"]
    assert [*graph.arrays][1:] == ["some.packed.scale", "some.packed.zero_point", "some.offset"]
    same_rows(even(8, -0.75), graph)


@pytest.mark.parametrize("target", ["portable", "cuda"])
def test_what_is_less_than_a_byte_stays_a_lookup_but_on_a_cpu(target: Target) -> None:
    graph = plain(even(4), target=target)
    assert linear_codes(graph) == graph


def test_other_levels_stay_a_lookup() -> None:
    book = even(4).codebook.copy()
    book[3] += 0.01
    graph = plain(dataclasses.replace(even(4), codebook=book))
    assert linear_codes(graph) is graph


@pytest.mark.parametrize("shared", ["some.packed", "some.lut"])
def test_what_another_node_uses_stays_as_it_is(shared: str) -> None:
    graph = plain(even(4))
    (node,) = graph.nodes
    other = dataclasses.replace(node, op="Shape", domain="", attributes={}, inputs=(shared,), output="other")
    used = dataclasses.replace(graph, nodes=(other, node))
    assert linear_codes(used) is used


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("opset", [13, 18])
def test_evenly_spaced_codes_are_one_operator_on_a_cpu(bits: int, opset: int) -> None:
    table = EmbeddingTable(gaussian(40, 13))
    built = to_onnx(Uniform(bits).compress(table, np.random.default_rng(0)), opset=opset, target="cpu")
    ops = [node.op_type for node in built.graph.node]
    if opset == 18 or bits in (1, 2, 4, 8):
        assert ops == [f"DequantizeGatherU{bits}", *(["Add"] if bits == 8 else [])]
    else:  # bytes cannot be joined there
        apart = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}[bits]
        assert ops[:2] == [f"DequantizeGatherU{width}" for width in apart[:2]]
        assert ops[2:] == ["Add", *(["DequantizeGatherU1", "Add"] if bits == 7 else [])]
    stored = {tensor.name for tensor in built.graph.initializer}
    made = {node.output[0] for node in built.graph.node}
    assert stored == {name for node in built.graph.node for name in node.input} - {"ids"} - made


# --- the arithmetic ---------------------------------------------------------------------------------------------------


@given(
    width=st.sampled_from([1, 2, 4, 8]),
    below=st.integers(0, 4),
    twice_zero=st.integers(0, 255),
    half=st.floats(2.0**-80, 2.0**80, width=32),
)
def test_levels_are_recognised(width: int, below: int, twice_zero: int, half: float) -> None:
    below = min(below, 8 - width)
    made = levels(width, below, twice_zero / 2, np.float32(half))
    lut = made[np.arange(256)[:, None] >> np.arange(0, 8, width) & ((1 << width) - 1)]
    found = linear(lut)
    whole = twice_zero * 2 ** (7 - width - below)  # the zero point of codes at the top of a byte
    if whole != int(whole) and width < 8:
        return
    if whole <= 255:
        assert found is not None
        codes = np.arange(1 << width, dtype=np.float32) * np.float32(1 << (8 - width))
        np.testing.assert_array_equal((codes - np.float32(found.zero_point)) * found.scale + found.offset, made)


@pytest.mark.parametrize(
    "levels_",
    [[0.0, 0.0], [1.0, 0.5], [-1.0, 0.9], [0.0, 1e-44], [0, 1, 2, 3.001], [0, 1, 3, 4]],
)
def test_other_levels_are_not(levels_: list[float]) -> None:
    values = np.array(levels_, np.float32)
    width = len(values).bit_length() - 1
    assert linear(values[np.arange(256)[:, None] >> np.arange(0, 8, width) & (len(values) - 1)]) is None


def test_byte_codebooks_are_not() -> None:
    assert linear(np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)) is None
    assert linear(np.zeros((256, 3), np.float32)) is None
    even_at_first = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
    even_at_first[:4, 0] = [0, 1, 2, 3]
    assert linear(even_at_first) is None
