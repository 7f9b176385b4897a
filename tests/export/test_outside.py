"""Payloads whose arrays lie in a file beside the model: written, verified and looked up as those inside of it."""

from __future__ import annotations

import mlflow
import numpy as np
import onnx
import pytest

from eigenselect.compressors import EmbeddingTable, KMeans, Payload, Spectral, Uniform, load
from eigenselect.export import OnnxDecoder, VerificationError, to_onnx, verify, write
from eigenselect.export.operators import model
from eigenselect.export.operators.data_file import data_file
from eigenselect.export.verification import parity
from tests.cases import forms, gaussian, payload_of
from tests.running import command, only


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "OUTSIDE_BYTES", 0)
    monkeypatch.setattr(model, "SMALL_BYTES", 200)


def payloads() -> list[Payload]:
    table = EmbeddingTable(gaussian(300, 13))
    return [each.compress(table, np.random.default_rng(0)) for each in (Uniform(3), KMeans(5), Spectral())]


@pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)
def test_what_lies_outside_is_the_same(case, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "session_bytes", lambda path, ids: 0)  # a process each; the next test starts it
    payload = payload_of(case, "gaussian")
    write(payload, path := tmp_path / "model.onnx")
    report = verify(payload, path, np.random.default_rng(0))
    inside = {tensor.name: tensor for tensor in to_onnx(payload).graph.initializer}
    for tensor in onnx.load(path).graph.initializer:
        assert onnx.numpy_helper.to_array(tensor).tobytes() == onnx.numpy_helper.to_array(inside[tensor.name]).tobytes()
    assert report.file_bytes == path.stat().st_size + data_file(path).stat().st_size
    assert path.stat().st_size < 16_000 * payload.bands


def test_a_session_holds_what_is_looked_up(tmp_path):
    payload = payloads()[0]
    write(payload, path := tmp_path / "model.onnx", target="cpu", output="float16")
    verify(payload, path, np.random.default_rng(0), output="float16")
    with data_file(path).open("r+b") as file:
        file.write(bytes(100))
    with pytest.raises(VerificationError, match="float16 rows differ by"):
        verify(payload, path, np.random.default_rng(0), output="float16")
    data_file(path).unlink()
    with pytest.raises(VerificationError, match="cannot be loaded by ONNX Runtime"):
        verify(payload, path, np.random.default_rng(0))


def test_a_hand_over_has_the_data_file_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "table.npy", gaussian(400, 16))
    out = tmp_path / "out"
    words = [*only("uniform"), "table.path=table.npy", "budget=12.5%", f"out={out}"]
    assert command(*words) == 0
    payload, ids = load(out / "payload.safetensors"), np.array([0, 7, 399])
    np.testing.assert_array_equal(OnnxDecoder(out / "model.onnx").decode(ids), payload.read(ids))
    assert (out / "model.onnx.data").stat().st_size >= 400 * 2
    assert command("check", str(out)) == 0
    client = mlflow.MlflowClient()
    (logged,) = client.search_logged_models([each.experiment_id for each in client.search_experiments()])
    served = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    np.testing.assert_array_equal(served.predict({"ids": ids}), payload.read(ids))
    (out / "model.onnx.data").write_bytes(bytes(1000))
    assert command("check", str(out)) == 1
