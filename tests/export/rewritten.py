"""A host, a payload for it, and what the rewritten host must give: shared by the tests of host rewriting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from eigenselect.compressors import EmbeddingTable, Payload, Uniform
from eigenselect.export import rewrite_host
from tests.cases import decode, gaussian
from tests.export.hosts import make_host

N, D = 300, 13
TABLE = gaussian(N, D)
NODE = helper.make_node


def uniform(table: np.ndarray = TABLE, bits: int = 4) -> Payload:
    return Uniform(bits).compress(EmbeddingTable(table), np.random.default_rng(0))


def feeds(ids: int = TensorProto.INT64, n: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    dtype = helper.tensor_dtype_to_np_dtype(ids)
    return {"ids": rng.integers(0, n, (3, 7)).astype(dtype), "types": rng.integers(0, 2, (3, 7))}


def run(model: Path | onnx.ModelProto, given: dict[str, np.ndarray]) -> np.ndarray:
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return session.run(["y"], given)[0]


def check_rows(path: Path, payload: Payload, given: dict[str, np.ndarray], form: str = "plain", **made: Any) -> None:
    """The model's output is that of the same model made with the decoded table."""
    expected = run(make_host(decode(payload), form, **made), given)
    got = run(path, given)
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected)


def tied(form: str = "plain") -> onnx.ModelProto:
    head = [NODE("Transpose", ["table"], ["t"], perm=[1, 0], name="turn"), NODE("MatMul", ["x", "t"], ["h"])]
    return make_host(TABLE, form, extra=head, outputs=["h"])


def refused(path: Path, payload: Payload, message: str, out: str = "new.onnx", **options: Any) -> None:
    """Refused in one line; the host and what was there before are untouched, and nothing is left behind."""
    folder = path.parent
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=message) as caught:
        rewrite_host(path, payload, folder / out, **options)
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert not list(folder.glob(".eigenselect*"))
