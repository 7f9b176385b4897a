"""The main job with a model: its table is read, and it is handed over with the chosen payload in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from mlflow import MlflowClient

from eigenselect.compressors import load
from tests.cases import gaussian
from tests.export.hosts import make_host, save_host
from tests.export.rewritten import tied
from tests.running import only
from tests.selector.test_command import candidates, client, command, name, runs, store

__all__ = ["client", "name", "store"]  # fixtures

N, D = 300, 13
TABLE = gaussian(N, D)
FEW = only("uniform", "pca")
POOL = ["budget=2kB", "out=o", "candidates.bits=[2]", "candidates.rates=[10]", *FEW]
PCA = "candidates.pool.pca.keep_dimension=[true,false]"


@pytest.fixture
def host(client: MlflowClient, tmp_path: Path) -> str:
    return str(save_host(make_host(TABLE, "int8"), tmp_path / "host.onnx"))


def check_host(folder: Path, given: dict[str, np.ndarray]) -> dict:
    """The handed over model is the payload in the host; what the record has of it."""
    record = json.loads((folder / "selection.json").read_text())
    decoded = load(folder / "payload.safetensors").read(slice(0, N))
    expected = make_host(decoded).SerializeToString()
    got, wanted = (ort.InferenceSession(source).run(["y"], given)[0] for source in (folder / "host.onnx", expected))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    return record["host"]


def test_from_a_model_to_its_smaller_form(client, host, name, tmp_path, capsys) -> None:
    assert command(f"table.path={host}", *POOL, PCA) == 0
    reported = check_host(tmp_path / "o", {"ids": np.arange(20).reshape(4, 5), "types": np.ones((4, 5), np.int64)})
    assert reported["file_bytes"] == (tmp_path / "o" / "host.onnx").stat().st_size
    assert reported["table"] == "'stored' 300 x 13 int8" and reported["proof"]["relative_error"] <= 1e-6
    assert reported["outputs"][0]["name"] == "y" and reported["outputs"][0]["cosine"] < 1
    printed = capsys.readouterr().out
    assert "host.onnx: 'stored' 300 x 13 int8 of" in printed and "cosine 0." in printed
    # Candidates in coordinates of their own are left out, and the reason is reported.
    assert "pca-10x: it decodes to coordinates of its own, which the host does not expect" in printed
    assert {row["name"] for row in candidates(tmp_path)} == {"uniform-b2", "pca-10x-keep"}
    (parent,) = runs(client, name, "selection")
    assert "host.onnx" in {item.path for item in client.list_artifacts(parent.info.run_id)}


def test_a_host_beside_the_table_and_its_data_file(host, tmp_path) -> None:
    np.save(tmp_path / "t.npy", TABLE)
    save_host(make_host(TABLE), tmp_path / "other.onnx", external=True)
    np.savez(tmp_path / "in.npz", ids=np.ones((1, 2), np.int64), types=np.ones((1, 2), np.int64))
    words = [f"table.path={tmp_path / 't.npy'}", *POOL]
    assert command(*words, f"export.host={tmp_path / 'other.onnx'}", f"export.inputs={tmp_path / 'in.npz'}") == 0
    assert (tmp_path / "o" / "host.onnx.data").exists()
    reported = check_host(tmp_path / "o", {"ids": np.zeros((1, 1), np.int64), "types": np.ones((1, 1), np.int64)})
    assert reported["inputs"] == str(tmp_path / "in.npz")
    # Without a host what an earlier hand-over had of one goes.
    assert command(*words) == 0
    assert not [path.name for path in (tmp_path / "o").iterdir() if path.name.startswith("host")]
    assert "host" not in json.loads((tmp_path / "o" / "selection.json").read_text())


def pruned(folder: Path) -> list[str]:
    """Settings that keep 250 of the 300 rows, in another order."""
    (folder / "tokens.txt").write_text("\n".join(f"t{i}" for i in range(N)))
    (folder / "keep.txt").write_text("\n".join(f"t{i}" for i in range(250, 0, -1)))
    return [f"table.tokens={folder / 'tokens.txt'}", f"table.keep={folder / 'keep.txt'}"]


def outputs(model: Path, ids: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(model).run(["y"], {"ids": ids, "types": np.ones_like(ids)})[0]


def test_a_pruned_host_takes_new_ids_or_its_old_ones(host, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("eigenselect.export.host.proof.session_bytes", lambda path: 0)  # a process each
    words = [f"table.path={host}", *pruned(tmp_path), *POOL]
    new, old = np.arange(50).reshape(5, 10), 250 - np.arange(50).reshape(5, 10)
    assert command(*words) == 0
    record = json.loads((tmp_path / "o" / "selection.json").read_text())["host"]
    assert record["kept_rows"] == 250 and "id_map_bytes" not in record
    expected = outputs(tmp_path / "o" / "host.onnx", new)
    assert command(*words, "export.remap=true", "export.oov=t7") == 0
    assert json.loads((tmp_path / "o" / "selection.json").read_text())["host"]["id_map_bytes"] == 4 * N
    np.testing.assert_array_equal(outputs(tmp_path / "o" / "host.onnx", old), expected)
    dropped = np.array([[0, 251, 299]])
    seven = outputs(tmp_path / "o" / "host.onnx", np.full((1, 3), 7))
    np.testing.assert_array_equal(outputs(tmp_path / "o" / "host.onnx", dropped), seven)
    again = ["export", f"host={host}", f"payload={tmp_path / 'o'}", f"out={tmp_path / 'again.onnx'}"]
    capsys.readouterr()
    for extra in (["remap=x"], ["remap=true", "oov=nowhere"]):
        assert command(*again, *extra) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert command(*again) == 0
    np.testing.assert_array_equal(outputs(tmp_path / "again.onnx", new), expected)
    assert command(*again, "remap=true", "oov=t7") == 0
    np.testing.assert_array_equal(outputs(tmp_path / "again.onnx", dropped), seven)


def refused(folder: Path, capsys, expected: str, *words: str) -> None:
    assert command(*POOL, *words) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and errors.count("\n") == 1 and expected in errors, errors
    assert not (folder / "o").exists()


def test_what_cannot_be_done_is_refused_before_the_sweep(client, host, name, tmp_path, capsys) -> None:
    head = save_host(tied(), tmp_path / "tied.onnx")
    refused(tmp_path, capsys, "is used by Transpose 'turn' too", f"table.path={head}")
    np.save(tmp_path / "t.npy", TABLE[::-1])
    table = f"table.path={tmp_path / 't.npy'}"
    refused(tmp_path, capsys, "it does not hold the 300 x 13 table", table, f"export.host={host}")
    refused(tmp_path, capsys, "nowhere.onnx: no such file", table, "export.host=nowhere.onnx")
    refused(tmp_path, capsys, "export.tied = 'x': must be refuse or keep", table, "export.tied=x")
    only = ["~candidates.pool.uniform", "candidates.pool.pca.keep_dimension=false"]
    refused(tmp_path, capsys, "the pool has none: give PCA", f"table.path={host}", *only)
    refused(tmp_path, capsys, "this one is whole: add table.keep", f"table.path={host}", "export.remap=true")
    refused(tmp_path, capsys, "and there is none: add export.host=MODEL.onnx", table, "export.remap=true")
    words = pruned(tmp_path)
    refused(
        tmp_path,
        capsys,
        "is neither error nor zeros nor a token",
        f"table.path={host}",
        *words,
        "export.remap=true",
        "export.oov=t290",
    )
    refused(
        tmp_path, capsys, "add export.words=true, or export.remap=true", f"table.path={host}", *words, "export.oov=t7"
    )
    assert runs(client, name, "selection") == []
    assert command(*POOL, f"table.path={head}", "export.tied=keep") == 0
    assert json.loads((tmp_path / "o" / "selection.json").read_text())["host"]["kept_for"] == ["Transpose 'turn'"]


def test_a_host_that_fails_verification_hands_nothing_over(client, host, name, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("eigenselect.export.host.proof.ROUNDED_ERROR", {onnx.TensorProto.FLOAT: -1})
    assert command(*POOL, f"table.path={host}") == 1
    assert "host.onnx: relative_error is 0.0, allowed is -1: not written" in capsys.readouterr().err
    assert not (tmp_path / "o").exists() and runs(client, name, "selection")[0].info.status == "FAILED"
