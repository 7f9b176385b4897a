"""The graph of an exported payload: its nodes, names, versions, and what a runtime does with odd ids."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from eigenselect.compressors import Identity, Payload, Uniform
from eigenselect.export import OnnxExport, save, to_onnx, verify
from eigenselect.export import onnx_export as handover
from eigenselect.export.operators import model
from eigenselect.export.operators.functions import DOMAIN, dequantize_gather
from tests.cases import CASES, Case, decode, forms, payload_of

every_form = pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)


def payload(name: str) -> Payload:
    (case,) = (case for case in CASES if case.id == name)
    return payload_of(case, "gaussian")


def session(built: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a failing run also writes to the log
    return ort.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])


@cache
def model_of(case: Case) -> onnx.ModelProto:
    return to_onnx(payload_of(case, "gaussian"))


@cache
def session_of(case: Case) -> ort.InferenceSession:
    return session(model_of(case))


def ops_of(built: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in built.graph.node]


@every_form
def test_passes_the_full_checker_with_stated_versions(case: Case) -> None:
    built = model_of(case)
    onnx.checker.check_model(built, full_check=True)
    assert built.ir_version == 9
    versions = {entry.domain: entry.version for entry in built.opset_import}
    ours = sorted({node.op_type for node in built.graph.node if node.domain})
    assert versions == {"": 18} | ({DOMAIN: 1} if ours else {})
    inner = {node.op_type for function in built.functions for node in function.node if node.domain}
    assert [function.name for function in built.functions] == sorted({*ours, *inner})


@every_form
def test_takes_ids_and_gives_vectors(case: Case) -> None:
    made = payload_of(case, "gaussian")
    (given,), (got,) = session_of(case).get_inputs(), session_of(case).get_outputs()
    assert (given.name, given.type, given.shape) == ("ids", "tensor(int64)", ["batch"])
    assert (got.name, got.type, got.shape) == ("vectors", "tensor(float)", ["batch", made.k])


@every_form
def test_initializers_are_the_arrays_by_name(case: Case) -> None:
    made = payload_of(case, "gaussian")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model_of(case).graph.initializer}
    for name, array in made.arrays().items():
        part = name.removesuffix("codebook")
        if part != name and f"{part}lut" not in stored:  # evenly spaced
            assert len(array) == 256
            assert (stored.pop(f"{part}packed.scale").dtype, stored.pop(f"{part}packed.zero_point").dtype) == (
                "f4",
                "u1",
            )
        elif part != name:  # expanded to the values of a whole byte
            assert stored.pop(f"{part}lut").shape[0] == 256
        else:
            np.testing.assert_array_equal(stored.pop(name).ravel(), array.ravel(), strict=True)
    # What the decode computes with beside them: bytes to look up, strides, shifts.
    assert sum(array.nbytes for array in stored.values()) <= 4096


def test_graph_of_packed_rows_is_one_node() -> None:
    built = to_onnx(payload("uniform-b4"))
    (node,) = built.graph.node
    assert (node.op_type, node.domain, list(node.input)) == (
        "DequantizeGather",
        "eigenselect",
        ["packed", "lut", "ids"],
    )
    assert {a.name: a.i for a in node.attribute} == {"dim": 13}
    assert list(node.output) == ["vectors"]


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("float32", ["Gather"]),
        ("float16", ["Gather", "Cast"]),
        ("uniform-b3", ["DequantizeGather", "DequantizeGather", "Add"]),
        ("kmeans-b3", ["DequantizeGather", "DequantizeGather", "Add", "Cast", "Gather"]),
        ("pca-k5", ["Gather"]),
        ("pca-k6-keep-uniform-b4", ["DequantizeGather", "MatMul"]),
    ],
)
def test_graphs_of_the_kinds(name: str, ops: list[str]) -> None:
    assert ops_of(to_onnx(payload(name))) == ops


def test_the_lookup_uses_only_what_has_a_cuda_kernel() -> None:
    body = dequantize_gather(18, padded=True)
    # No BitShift, BitwiseAnd or Mod, and nothing of ours inside.
    assert {node.op_type for node in body.node} == {
        *("Gather", "GatherElements", "Expand", "Flatten", "Transpose", "Cast", "Shape", "Mul", "Concat", "Reshape"),
        *("Constant", "Unsqueeze", "Slice"),
    }
    assert {node.domain for node in body.node} == {""}


@every_form
def test_an_id_out_of_range_is_an_error(case: Case) -> None:
    for id in (300, -301, 2**40):
        with pytest.raises(Exception, match=r"out of data bounds|out of bounds|out of range"):
            session_of(case).run(None, {"ids": np.array([0, id])})


def test_the_edge_of_the_range_is_none() -> None:
    made = payload("uniform-b4")
    (got,) = session(to_onnx(made)).run(None, {"ids": np.array([299, -1, -300, 0])})
    np.testing.assert_array_equal(got, decode(made)[[299, 299, 0, 0]])


@pytest.mark.parametrize("opset", [13, 17, 21, 23])
@pytest.mark.parametrize("name", ["float16", "kmeans-b7", "pca-k6-keep-uniform-b4"])
def test_other_opsets_give_the_same_rows(name: str, opset: int, tmp_path: Path) -> None:
    built = to_onnx(payload(name), opset=opset)
    assert {entry.domain: entry.version for entry in built.opset_import}[""] == opset
    save(built, tmp_path / "model.onnx")
    verify(payload(name), tmp_path / "model.onnx", np.random.default_rng(0))


def test_a_payload_too_large_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_FILE_BYTES", 2_163)
    with pytest.raises(
        ValueError, match=r"^a payload of 2164 bytes does not fit the 2163 of one ONNX file: eigenselect"
    ):
        to_onnx(payload("uniform-b4"))


@pytest.mark.parametrize("opset", [12, onnx.defs.onnx_opset_version() + 1])
def test_export_refuses_opsets_it_cannot_write(opset: int) -> None:
    with pytest.raises(
        ValueError, match=rf"^export\.opset = {opset}: must be at least 13, and ONNX Runtime .* load it"
    ):
        OnnxExport(opset=opset)


def test_export_refuses_unknown_targets() -> None:
    with pytest.raises(ValueError, match=r"^export\.target = 'tpu': must be one of portable, cpu, cuda$"):
        OnnxExport(target="tpu")  # type: ignore[arg-type]


def test_a_runtime_that_lacks_operators_of_a_target_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = model.runs

    def old(opset: int, target: model.Target) -> bool:
        return runs(opset, target) and (target, opset) != ("cpu", 18)

    monkeypatch.setattr(model, "runs", old)
    OnnxExport(target="cpu", opset=17)
    OnnxExport()
    with pytest.raises(
        ValueError, match=r"^target = cpu at opset 18: ONNX Runtime .* does not run it; cpu needs 1\.21"
    ):
        OnnxExport(target="cpu")


def test_a_model_is_verified_on_cuda_where_that_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    for here, target, wanted in (
        ([cpu], "cuda", [[cpu]]),
        ([cuda, cpu], "portable", [[cpu], [cuda, cpu]]),
        ([cuda, cpu], "cuda", [[cpu], [cuda, cpu]]),
        ([cuda, cpu], "cpu", [[cpu]]),
    ):
        monkeypatch.setattr(handover, "available_providers", lambda here=here: here)
        assert OnnxExport(target=target).verified_on == wanted  # type: ignore[arg-type]
        assert OnnxExport(target=target, providers=(cpu,)).verified_on == [[cpu]]  # type: ignore[arg-type]


def test_export_refuses_providers_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"^export\.providers names \['NoProvider'\]; this ONNX Runtime has \["):
        OnnxExport(providers=("CPUExecutionProvider", "NoProvider"))


def test_export_writes_and_verifies(tmp_path: Path) -> None:
    made = payload("uniform-b4")
    report = OnnxExport()(made, tmp_path / "model.onnx", np.random.default_rng(0))
    assert (tmp_path / "model.onnx").read_bytes() == to_onnx(made).SerializeToString()
    assert report.file_bytes == (tmp_path / "model.onnx").stat().st_size


def test_the_same_payload_gives_the_same_file() -> None:
    from tests.cases import TABLES

    files = {
        to_onnx(compressor.compress(TABLES["half"], np.random.default_rng(0))).SerializeToString()
        for compressor in (Uniform(4), Uniform(4))
    }
    assert len(files) == 1
    assert to_onnx(Identity().compress(TABLES["half"], np.random.default_rng(0))).SerializeToString() not in files
