"""Torch models that hold compressed embeddings, exported and run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.onnx._internal.exporter import _onnx_program

from eigenselect.export import CompressedEmbedding, replace_embeddings, torch_to_onnx
from eigenselect.export.operators.functions import DOMAIN
from eigenselect.export.torch import onnx as torch_onnx
from tests.cases import CASES, payload_of
from tests.export.test_torch_replace import WORDS, Transformer

ANY_SHAPE = ({0: "batch", 1: "sequence"},)


def module(name: str) -> CompressedEmbedding:
    case = next(case for case in CASES if case.id == name)
    return CompressedEmbedding(payload_of(case, "gaussian")).eval()


def exported(model: nn.Module, path: Path, dtype: torch.dtype = torch.int64, **settings: Any) -> onnx.ModelProto:
    example = (torch.zeros(2, 3, dtype=dtype),)
    torch_to_onnx(model, example, path, dynamic_shapes=ANY_SHAPE, input_names=["ids"], **settings)
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".data"] == [path.name]
    onnx.checker.check_model(path, full_check=True)
    return onnx.load(path)


def run(path: Path, ids: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a failing run also writes to the log
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"ids": ids})[0]
    return found


def some_ids(n: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.randint(0, n, (5, 7), dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "dtype", "opset", "cut"),
    [
        ("uniform-b4", torch.int64, 18, True),  # 13 columns of 14 that are stored
        ("uniform-b4", torch.int32, 20, True),
        ("uniform-b8", torch.int32, 18, False),
    ],
)
def test_packed_rows_are_one_node_with_its_function(
    name: str, dtype: torch.dtype, opset: int, cut: bool, tmp_path: Path
) -> None:
    found = module(name)
    model = exported(found, tmp_path / "model.onnx", dtype, opset=opset)
    (node,) = model.graph.node
    assert (node.op_type, node.domain, list(node.input)) == ("DequantizeGather", DOMAIN, ["packed", "lut", "ids"])
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": opset, DOMAIN: 1}
    (function,) = model.functions
    assert (function.name, function.domain) == ("DequantizeGather", DOMAIN)
    assert [entry.version for entry in function.opset_import] == [opset]
    assert ("Slice" in {inner.op_type for inner in function.node}) == cut
    ids = some_ids(300, dtype)
    np.testing.assert_array_equal(run(tmp_path / "model.onnx", ids.numpy()), found(ids).numpy(), strict=True)
    last = run(tmp_path / "model.onnx", np.array([[-1]], ids.numpy().dtype))
    np.testing.assert_array_equal(last[0, 0], found(torch.tensor(299)).numpy())
    with pytest.raises(Exception, match=r"out of data bounds|out of bounds|out of range"):
        run(tmp_path / "model.onnx", np.array([[300]], ids.numpy().dtype))


def test_half_is_rounded_after_the_lookup(tmp_path: Path) -> None:
    found = module("uniform-b4").half()
    model = exported(found, tmp_path / "model.onnx")
    assert [node.op_type for node in model.graph.node] == ["DequantizeGather", "Cast"]
    ids = some_ids(300)
    np.testing.assert_array_equal(run(tmp_path / "model.onnx", ids.numpy()), found(ids).numpy(), strict=True)


@pytest.mark.parametrize(
    ("name", "lookups"),
    [
        ("float16", []),
        ("bands0.5-(spectral0.5-kmeans-b4)-pca-k5-keep", ["DequantizeGather"]),
        ("trellis8-b2", ["TrellisGather2W8"]),
        ("exact0-uniform-b1", ["DequantizeGather"]),
        ("tt3-2x", []),
    ],
)
def test_other_kinds_are_lookups_and_standard_operators(name: str, lookups: list[str], tmp_path: Path) -> None:
    found = module(name)
    model = exported(found, tmp_path / "model.onnx")
    ours = [node.op_type for node in model.graph.node if node.domain]
    assert ours == lookups == [function.name for function in model.functions]
    ids = some_ids(300)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", ids.numpy()), found(ids).numpy(), rtol=1e-5, atol=1e-6)


def test_a_model_around_it_is_exported_with_it(tmp_path: Path) -> None:
    model = Transformer().eval()
    replace_embeddings(model, bits=2)
    built = exported(model, tmp_path / "model.onnx", output_names=["logits"])
    assert [node.op_type for node in built.graph.node if node.domain] == ["DequantizeGather"] * 2
    assert [output.name for output in built.graph.output] == ["logits"]
    stored = {tensor.name: list(tensor.dims) for tensor in built.graph.initializer}
    assert stored["words.packed"] == [WORDS, 4] and stored["places.packed"] == [32, 4]
    ids = some_ids(WORDS)
    expected = model(ids).detach().numpy()
    np.testing.assert_allclose(run(tmp_path / "model.onnx", ids.numpy()), expected, rtol=1e-4, atol=1e-5)


def test_a_model_without_one_has_no_function(tmp_path: Path) -> None:
    model = exported(nn.Embedding(10, 4).eval(), tmp_path / "model.onnx")
    assert [entry.domain for entry in model.opset_import] == [""] and not model.functions


def test_large_weights_lie_beside_the_file_and_arguments_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    found = module("uniform-b4")
    path = tmp_path / "model.onnx"
    ids = some_ids(300)
    torch_to_onnx(found, (), path, kwargs={"ids": ids})
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    onnx.checker.check_model(path, full_check=True)
    np.testing.assert_array_equal(run(path, ids.numpy()), found(ids).numpy())


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_nothing_is_touched_when_the_model_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_text("older")
    monkeypatch.setattr(torch_onnx, "_add_functions", lambda path, padded: path.write_text("no model"))
    with pytest.raises(Exception, match=r"Unable to parse|parse proto"):
        torch_to_onnx(module("uniform-b4"), (some_ids(300),), tmp_path / "model.onnx")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("model.onnx", "older")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/absent is not a folder: make it first$"):
        torch_to_onnx(module("uniform-b4"), (some_ids(300),), tmp_path / "absent" / "model.onnx")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_onnx, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^torch exports to ONNX with onnxscript, which is not installed"):
        torch_to_onnx(module("uniform-b4"), (some_ids(300),), tmp_path / "model.onnx")
