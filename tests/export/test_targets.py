"""The operators that are chosen for each target and opset: the same rows, whichever they are."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.compressors.codebooks.scalar import levels
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import pack, planar, unpack
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.export import to_onnx
from eigenselect.export.operators.builder import TARGETS, OnnxOps, Target, linear
from eigenselect.export.operators.functions import DOMAIN, dequantize_gather, dequantize_gather_linear
from tests.cases import CASES, Case, compress, forms, gaussian, payload_of

every_form = pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)

ON_CUDA = {
    *(
        "Add",
        "ArgMax",
        "Cast",
        "Concat",
        "Constant",
        "DequantizeLinear",
        "Div",
        "Equal",
        "Expand",
        "Floor",
        "Gather",
        "Less",
    ),
    *("MatMul", "Max", "Min", "Mul", "Reshape", "Shape", "Slice", "Sub", "Unsqueeze", "Where"),
}
"""Operators that ONNX Runtime's docs/OperatorKernels.md lists kernels of for the CUDAExecutionProvider."""


def model_of(
    payload: Payload, opset: int, target: Target, rank: int, kind: int, *, half: bool = False
) -> onnx.ModelProto:
    """A model with ids of any rank and type, which `to_onnx` does not make and a rewritten host may have."""
    ops = OnnxOps("some.", opset=opset, target=target)
    value = payload.decode("ids", ops)
    value = ops.as_half(value) if half else value
    shape = [f"n{i}" for i in range(rank)]
    graph = helper.make_graph(
        ops.nodes,
        "g",
        [helper.make_tensor_value_info("ids", kind, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT16 if half else TensorProto.FLOAT, [*shape, payload.k])],
        ops.initializers,
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, ir_version=8, opset_imports=imports, functions=ops.functions())
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, ids: np.ndarray) -> np.ndarray:
    (rows,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"ids": ids}
    )
    return rows


@every_form
@pytest.mark.parametrize(("opset", "target"), [(13, "portable"), (13, "cpu"), (17, "cuda"), (18, "cpu"), (21, "cpu")])
def test_every_target_gives_the_rows_of_numpy(case: Case, opset: int, target: Target) -> None:
    payload = payload_of(case, "gaussian")
    n = payload.n
    for ids, kind in (
        (np.concatenate([np.arange(n), [-1, -n]]).reshape(2, -1), TensorProto.INT64),
        (np.zeros((2, 0, 3), np.int32), TensorProto.INT32),
        (np.array(n - 1, np.int32), TensorProto.INT32),
    ):
        expected = payload.decode(ids, NumpyOps())
        got = run(model_of(payload, opset, target, ids.ndim, kind), ids)
        assert (got.dtype, got.shape) == (np.float32, expected.shape)
        if case.parity == "bit" and target != "cpu":
            np.testing.assert_array_equal(got, expected)
        else:  # planes are joined before they are scaled
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(initial=0))


@every_form
def test_only_the_cpu_target_uses_what_cuda_lacks(case: Case) -> None:
    for target in TARGETS:
        built = to_onnx(payload_of(case, "gaussian"), target=target)  # type: ignore[arg-type]
        nodes = [*built.graph.node, *(node for function in built.functions for node in function.node)]
        used = {node.op_type for node in nodes if node.domain != DOMAIN}
        assert used <= ON_CUDA or target == "cpu"


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("opset", [13, 18])
def test_evenly_spaced_codes_are_one_operator_on_a_cpu(bits: int, opset: int) -> None:
    built = to_onnx(
        Uniform(bits).compress(EmbeddingTable(gaussian(40, 13)), np.random.default_rng(0)), opset=opset, target="cpu"
    )
    ops = [node.op_type for node in built.graph.node]
    if opset == 18 or bits in (1, 2, 4, 8):
        assert ops == [f"DequantizeGatherU{bits}", *(["Add"] if bits == 8 else [])]
    else:  # bytes cannot be joined there
        assert (
            ops
            == {
                3: ["DequantizeGatherU2", "DequantizeGatherU1", "Add"],
                5: ["DequantizeGatherU4", "DequantizeGatherU1", "Add"],
                6: ["DequantizeGatherU4", "DequantizeGatherU2", "Add"],
                7: ["DequantizeGatherU4", "DequantizeGatherU2", "Add", "DequantizeGatherU1", "Add"],
            }[bits]
        )
    names = {tensor.name for tensor in built.graph.initializer}
    assert names == {name for node in built.graph.node for name in node.input} - {"ids"} - {
        n.output[0] for n in built.graph.node
    }


def test_planes_of_different_codes_are_not_joined() -> None:
    (case,) = (case for case in CASES if case.id == "uniform-b3")
    payload = payload_of(case, "gaussian")
    high, low = payload.parts  # type: ignore[attr-defined]
    import dataclasses

    for other in (
        dataclasses.replace(low, codebook=low.codebook * np.float32(2)),
        dataclasses.replace(low, codebook=low.codebook - low.codebook[1]),
        high,
    ):
        mixed = type(payload)((high, other))  # type: ignore[call-arg]
        built = to_onnx(mixed, target="cpu")
        assert [node.op_type for node in built.graph.node][-1] == "Add"
        ids = np.arange(300)
        np.testing.assert_array_equal(run(built, ids), mixed.decode(ids, NumpyOps()))


@pytest.mark.parametrize("name", ["uniform-b3", "uniform-b4", "kmeans-b4", "float16", "pca-k6-keep-uniform-b4"])
@pytest.mark.parametrize("target", ["portable", "cpu"])
def test_rows_as_float16_are_the_rows_rounded(name: str, target: Target) -> None:
    (case,) = (case for case in CASES if case.id == name)
    payload = payload_of(case, "gaussian")
    model = model_of(payload, 18, target, 1, TensorProto.INT64, half=True)
    got = run(model, np.arange(300))
    assert got.dtype == np.float16
    expected = payload.decode(np.arange(300), NumpyOps()).astype(np.float16)
    if case.parity == "bit" and (name != "uniform-b3" or target != "cpu"):
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got.astype(float), expected, rtol=2e-3)
    if (name, target) in {("kmeans-b4", "portable"), ("uniform-b4", "portable")}:
        (lut,) = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "some.lut")
        assert lut.dtype == np.float16
        assert [node.op_type for node in model.graph.node] == ["DequantizeGather"]


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


@given(
    width=st.sampled_from([1, 2, 4, 8]),
    d=st.integers(1, 40),
    n=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_planar_bytes_hold_the_same_codes(width: int, d: int, n: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << width, (n, d)).astype(np.uint8)
    turned = planar(pack(codes, width), width, d)
    w = turned.shape[1]
    for column in range(d):
        byte, place = turned[:, column % w], column // w
        np.testing.assert_array_equal(byte >> (place * width) & ((1 << width) - 1), codes[:, column])
    assert np.bitwise_count(turned).sum() == np.bitwise_count(unpack(pack(codes, width), width, d)).sum()


def test_planar_goes_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    import eigenselect.compressors.payloads.bitpack

    packed = np.random.default_rng(0).integers(0, 256, (50, 7), dtype=np.uint8)
    whole = planar(packed, 2, 26)
    monkeypatch.setattr(eigenselect.compressors.payloads.bitpack, "PLANAR_BYTES", 100)
    np.testing.assert_array_equal(planar(packed, 2, 26), whole)


def test_codes_beyond_the_range_of_float32_are_not_made() -> None:
    table = EmbeddingTable(np.array([[3e38, -3e38], [1e38, 2e38], [0, -1e38]], np.float32))
    for bits in (1, 4, 8):
        payload = compress(Case(Uniform(bits)), table)
        rows = payload.decode(np.arange(3), NumpyOps())
        assert np.isfinite(rows).all()
        for target in TARGETS:
            np.testing.assert_array_equal(run(to_onnx(payload, target=target), np.arange(3)), rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_functions_are_of_the_opset_of_the_model(opset: int) -> None:
    bodies = [dequantize_gather(opset, padded=False)]
    bodies += [dequantize_gather_linear(bits, opset, padded=False) for bits in range(1, 9)]
    assert {entry.version for body in bodies for entry in body.opset_import} == {opset}
