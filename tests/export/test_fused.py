"""Operators of ONNX Runtime that hold a lookup, and functions: the rest of what they do stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper

from eigenselect.compressors import EmbeddingTable, Identity, Payload, Uniform
from eigenselect.export import embedding_table, rewrite_host
from tests.cases import decode, gaussian
from tests.export.forms import NODE, narrow, stored
from tests.export.hosts import save_host

N, D, OPSET = 60, 20, 21
TABLE = gaussian(N, D)
IDS = np.random.default_rng(3).integers(0, N, (2, 5))

pytestmark = pytest.mark.usefixtures("no_processes")


def model_of(
    nodes: list[NodeProto],
    tensors: list[TensorProto],
    outputs: tuple[str, ...] = ("y",),
    ids: int = TensorProto.INT64,
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> onnx.ModelProto:
    info, size = helper.make_tensor_value_info, ["batch", "sequence"]
    inputs = [info("ids", ids, size)]
    inputs += [info(name, ids, size) for name in ("types", "mask", "at") if any(name in node.input for node in nodes)]
    integer = {"index": TensorProto.INT32}
    rows = [info(name, integer.get(name, TensorProto.FLOAT), None) for name in outputs]
    for value in rows:
        value.type.tensor_type.shape.SetInParent()
        for axis in range(1 if value.name == "index" else 3):
            value.type.tensor_type.shape.dim.add(dim_param=f"{value.name}{axis}")
    graph = helper.make_graph(nodes, "g", inputs, rows, tensors)
    domains = {"": OPSET, "com.microsoft": 1, "mine": 1}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets, functions=functions)


def run(path: Path, **given: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: given[value.name] for value in session.get_inputs()})


def uniform(table: np.ndarray) -> Payload:
    return Uniform(4).compress(EmbeddingTable(table), np.random.default_rng(0))


# --- EmbedLayerNormalization ------------------------------------------------------------------------------------------


def fused(inputs: list[str], outputs: tuple[str, ...], table: np.ndarray = TABLE) -> onnx.ModelProto:
    node = NODE("EmbedLayerNormalization", inputs, outputs, domain="com.microsoft", name="embed", epsilon=1e-12)
    tensors = {"words": table, "places": gaussian(20, D, seed=1), "kinds": gaussian(2, D, seed=2)}
    tensors |= {"gamma": gaussian(1, D, seed=3)[0], "beta": gaussian(1, D, seed=4)[0]}
    held = [stored(array, name) for name, array in tensors.items() if name in inputs]
    return model_of([node], held, tuple(name for name in outputs if name), TensorProto.INT32)


FUSED: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "all": (["ids", "types", "words", "places", "kinds", "gamma", "beta", "mask"], ("y", "index")),
    "no types": (["ids", "", "words", "places", "", "gamma", "beta"], ("y", "index")),
    "places given": (["ids", "", "words", "places", "", "gamma", "beta", "", "at"], ("y", "index")),
    "sums": (["ids", "types", "words", "places", "kinds", "gamma", "beta"], ("y", "index", "sum")),
}


@pytest.mark.parametrize("case", FUSED)
def test_the_words_of_a_fused_embedding(case: str, tmp_path: Path) -> None:
    inputs, outputs = FUSED[case]
    path = save_host(fused(inputs, outputs), tmp_path / "host.onnx")
    np.testing.assert_array_equal(embedding_table(path), TABLE)
    given = {"ids": IDS.astype(np.int32), "types": (IDS % 2).astype(np.int32), "mask": (IDS > 9).astype(np.int32)}
    given["at"] = (IDS % 9).astype(np.int32)
    report = rewrite_host(path, uniform(TABLE), tmp_path / "new.onnx")
    assert report.removed_bytes == TABLE.nbytes and "words" not in str(onnx.load(tmp_path / "new.onnx").graph)
    by_hand = save_host(fused(inputs, outputs, decode(uniform(TABLE))), tmp_path / "by_hand.onnx")
    for got, expected in zip(run(tmp_path / "new.onnx", **given), run(by_hand, **given), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_a_table_of_words_and_places_stays_for_these(tmp_path: Path) -> None:
    path = save_host(fused(["ids", "", "words", "words", "", "gamma", "beta"], ("y", "index")), tmp_path / "host.onnx")
    report = rewrite_host(path, uniform(TABLE), tmp_path / "new.onnx")
    assert report.removed_bytes == 0 and "words" in str(onnx.load(tmp_path / "new.onnx").graph.initializer)


# --- GatherBlockQuantized ---------------------------------------------------------------------------------------------


def block_quantized(type_: int, bits: int, zeros: bool) -> tuple[onnx.ModelProto, np.ndarray]:
    """Also the rows, by the formula."""
    rng, block = np.random.default_rng(5), 16
    low, high = (-8, 8) if type_ == TensorProto.INT4 else (0, 2**bits)
    codes, zero = (rng.integers(low, high, (N, size)).astype(np.int8).view(np.uint8) for size in (D, 2))
    scale = rng.random((N, 2)).astype(np.float32) + 0.5
    attributes = {"block_size": block, "bits": bits, "gather_axis": 0, "quantize_axis": 1}
    names = ["codes", "ids", "scale", *(["zero"] if zeros else [])]
    packed = [packed_of(array, bits, type_, name) for array, name in ((codes, "codes"), (zero, "zero"))]
    node = NODE("GatherBlockQuantized", names, ["y"], domain="com.microsoft", **attributes)
    default = 2 ** (bits - 1) if type_ == TensorProto.UINT8 else 0
    sign = np.int8 if type_ == TensorProto.INT4 else np.uint8
    of = zero.view(sign).astype(int) if zeros else np.full((N, 2), default)
    wide = [np.repeat(array, block, axis=1)[:, :D] for array in (of, scale)]
    values = ((codes.view(sign).astype(int) - wide[0]) * wide[1]).astype(np.float32)
    return model_of([node], [packed[0], stored(scale, "scale"), *(packed[1:] if zeros else [])]), values


def packed_of(codes: np.ndarray, bits: int, type_: int, name: str) -> TensorProto:
    if type_ != TensorProto.UINT8:
        return narrow(codes, type_, name)
    each = 8 // bits
    padded = np.pad(codes, [(0, 0), (0, -codes.shape[1] % each)]).reshape(len(codes), -1, each)
    return stored(np.bitwise_or.reduce(padded << (bits * np.arange(each, dtype=np.uint8)), axis=2), name)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(
    ("type_", "bits"),
    [(TensorProto.INT4, 4), (TensorProto.UINT4, 4), *((TensorProto.UINT8, bits) for bits in (2, 4, 8))],
)
def test_rows_quantized_by_blocks(type_: int, bits: int, zeros: bool, tmp_path: Path) -> None:
    model, values = block_quantized(type_, bits, zeros)
    path = save_host(model, tmp_path / "host.onnx")
    table = embedding_table(path)
    np.testing.assert_allclose(table, values, rtol=1e-6)
    np.testing.assert_allclose(run(path, ids=np.arange(N)[None])[0][0], table, rtol=1e-6)
    report = rewrite_host(path, uniform(table), tmp_path / "new.onnx")
    assert report.table.startswith("'codes' 60 x 20 ")
    np.testing.assert_allclose(run(tmp_path / "new.onnx", ids=IDS)[0], decode(uniform(table))[IDS], atol=1e-6)
    assert {t.name for t in onnx.load(tmp_path / "new.onnx").graph.initializer} == {"es0.packed", "es0.lut"}


# --- functions --------------------------------------------------------------------------------------------------------


def functions(table: np.ndarray) -> onnx.ModelProto:
    """A lookup in a function that another one calls, and a function that reads a shape."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("mine", 1)]
    of, node = helper.make_function, NODE
    look = [node("Identity", ["w"], ["table"]), node("Gather", ["table", "i"], ["o"])]
    size = [node("Constant", [], ["at"], value_int=1), node("Gather", ["s", "at"], ["n"])]
    bodies = [
        of("mine", "Embedding", ["w", "i"], ["o"], look, opsets),
        of(
            "mine",
            "Layer",
            ["w", "i"],
            ["o"],
            [node("Embedding", ["w", "i"], ["e"], domain="mine"), node("Tanh", ["e"], ["o"])],
            opsets,
        ),
        of(
            "mine",
            "Length",
            ["x"],
            ["o"],
            [node("Shape", ["x"], ["s"]), *size, node("Cast", ["n"], ["f"], to=1), node("Mul", ["x", "f"], ["o"])],
            opsets,
        ),
    ]
    calls = [node("Layer", ["words", "ids"], ["e"], domain="mine"), node("Length", ["e"], ["y"], domain="mine")]
    return model_of(calls, [stored(table, "words")], functions=tuple(bodies))


def test_lookups_in_functions_are_inlined_and_other_functions_stay(tmp_path: Path) -> None:
    path = save_host(functions(TABLE), tmp_path / "host.onnx")
    np.testing.assert_array_equal(embedding_table(path), TABLE)
    rewrite_host(path, uniform(TABLE), tmp_path / "new.onnx")
    new = onnx.load(tmp_path / "new.onnx")
    assert {function.name for function in new.functions} == {"Length", "DequantizeGather"}
    np.testing.assert_allclose(
        run(tmp_path / "new.onnx", ids=IDS)[0], np.tanh(decode(uniform(TABLE))[IDS]) * 5, rtol=1e-5, atol=1e-6
    )


def test_lossless_rows_change_nothing_in_a_fused_model(tmp_path: Path) -> None:
    inputs, outputs = FUSED["all"]
    path = save_host(fused(inputs, outputs), tmp_path / "host.onnx")
    payload = Identity("float32").compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    report = rewrite_host(path, payload, tmp_path / "new.onnx")
    assert [output.max_abs_difference for output in report.outputs] == [0, 0]
