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
from eigenselect.export.verification import parity, timing
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
    monkeypatch.setattr(parity, "FIRST_ROWS", 128)
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


@pytest.mark.parametrize("rows", [1 << 14, 500])
def test_an_expanded_table_is_seen_by_its_first_rows(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "FIRST_ROWS", rows)
    payload = Uniform(2).compress(EmbeddingTable(gaussian(1000, 64)), np.random.default_rng(0))
    write(payload, path := tmp_path / "model.onnx")
    assert payload.nbytes - 16 <= parity.constant_bytes(path) <= payload.nbytes + parity.OVERHEAD_BYTES
    changed = onnx.load(path, load_external_data=False)
    (packed,) = (tensor.name for tensor in changed.graph.initializer if tensor.dims[:1] == [1000])
    del changed.graph.node[:]
    make = onnx.helper.make_node  # ONNX Runtime folds the Cast: the file is small, the session is not
    changed.graph.node.append(make("Cast", [packed], ["table"], to=onnx.TensorProto.FLOAT))
    changed.graph.node.append(make("Gather", ["table", "ids"], ["vectors"]))
    path.write_bytes(changed.SerializeToString())
    folded, left_out = min(rows, 1000) * 16 * 4, (1000 - min(rows, 1000)) * 16
    assert parity.constant_bytes(path) == folded + left_out > payload.nbytes + parity.OVERHEAD_BYTES


def test_of_a_large_model_some_rows_are_timed(tmp_path, monkeypatch):
    write(payloads()[0], path := tmp_path / "model.onnx")
    held, real = data_file(path).stat().st_size + path.stat().st_size, timing._Lookup.seconds
    for most, last in ((held, 299), (held // 10, 300 * (held // 10) // held - 1)):
        asked: dict[object, int] = {}

        def noted(self, ids, count, asked=asked):
            asked[self] = max(int(ids.max()), asked.get(self, 0))
            return real(self, ids, count)

        monkeypatch.setattr(timing._Lookup, "seconds", noted)
        monkeypatch.setattr(timing, "GATHERED_BYTES", most)
        timer = timing.LookupTimer(300, 13)
        timer.times(path)
        assert {reached for each, reached in asked.items() if each not in timer._gathers.values()} == {last}


def test_what_is_read_of_a_mapped_file_does_not_stay(tmp_path, monkeypatch):
    payload = payloads()[0]
    write(payload, path := tmp_path / "model.onnx")
    opened, real = [], parity.ort.InferenceSession
    monkeypatch.setattr(parity.ort, "InferenceSession", lambda *given, **more: opened.append(1) or real(*given, **more))
    monkeypatch.setattr(parity, "HELD_BYTES", 4 * 13 * 100)
    decoder, ids = OnnxDecoder(path), np.array([0, 7, 120, 121, 299])
    np.testing.assert_array_equal(decoder.read(slice(0, 100)), payload.read(slice(0, 100)))
    assert len(opened) == 1
    np.testing.assert_array_equal(decoder.read(ids), payload.read(ids))
    assert len(opened) == 2
    np.testing.assert_array_equal(decoder.read(slice(0, 3)), payload.read(slice(0, 3)))
    assert len(opened) == 2


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
