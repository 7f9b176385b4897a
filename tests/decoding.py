"""One decode, wherever it runs and however it was stored: what the tests of the payload kinds have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

import eigenselect.compressors.payloads.base
from eigenselect.compressors import Payload, load
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.compressors.payloads.torch_ops import TorchOps
from eigenselect.export import to_onnx


@dataclass(frozen=True, eq=False)
class Example:
    """A payload with its decoded rows from elsewhere.

    Attributes:
        payload: the payload.
        expected: (n, k), by an independent procedure.
        exact: to the bit, or as sums may be rounded.
    """

    payload: Payload
    expected: np.ndarray
    exact: bool = True

    def agrees(self, found: np.ndarray, expected: np.ndarray) -> None:
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        if self.exact:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(self.expected).max())


def check_everywhere(example: Example) -> None:
    """numpy = oracle, and torch and ONNX Runtime = numpy, for all ids there are; any other id is an error."""
    payload, expected = example.payload, example.expected
    n = payload.n
    assert (n, payload.k) == expected.shape
    session = ort.InferenceSession(to_onnx(payload).SerializeToString(), providers=["CPUExecutionProvider"])
    ops = TorchOps()
    example.agrees(payload.decode(slice(1, n - 1), NumpyOps()), expected[1 : n - 1])
    for ids in (np.arange(n), np.arange(-n, 0), np.array([n - 1, 0, -1, -n, 0, 0]), np.array([], dtype=np.int64)):
        for executed in (
            payload.decode(ids, NumpyOps()),
            payload.decode(ids.astype(np.int32), NumpyOps()),
            payload.decode(torch.from_numpy(ids), ops).numpy(),
            payload.decode(torch.from_numpy(ids.astype(np.int32)), ops).numpy(),
            session.run(None, {"ids": ids})[0],
        ):
            example.agrees(executed, expected[ids])
    for wrong in (-n - 1, n, 2**40, -(2**40)):
        ids = np.array([0, wrong])
        with pytest.raises(IndexError):
            payload.decode(ids, NumpyOps())
        with pytest.raises(IndexError):
            payload.decode(torch.from_numpy(ids), ops)
        with pytest.raises(Exception, match=r"out of data bounds|out of bounds|out of range"):
            session.run(None, {"ids": ids})


def check_stored(example: Example, folder: Path) -> None:
    """What is saved is loaded, array by array, decodes alike and is saved alike."""
    payload = example.payload
    payload.save(folder / "payload.safetensors")
    loaded = load(folder / "payload.safetensors")
    assert type(loaded) is type(payload) and loaded.aligned == payload.aligned
    arrays = payload.arrays()
    assert {*loaded.arrays()} == {*arrays}
    for name, array in loaded.arrays().items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)
    assert loaded.nbytes == payload.nbytes == sum(array.nbytes for array in arrays.values())
    example.agrees(loaded.read(slice(None)), example.expected)
    loaded.save(folder / "again.safetensors")
    assert (folder / "again.safetensors").read_bytes() == (folder / "payload.safetensors").read_bytes()


def check_chunks(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows read in chunks of any size are the rows decoded at once."""
    payload, n = example.payload, example.payload.n
    for rows in (1, 3, n - 1, n):
        monkeypatch.setattr(eigenselect.compressors.payloads.base, "READ_BYTES", 4 * payload.width * rows)
        example.agrees(payload.read(slice(None)), example.expected)
        example.agrees(payload.read(slice(2, n)), example.expected[2:])
        assert payload.read(slice(1, 1)).shape == (0, payload.k)
