"""A rewritten model and its data file: one step from the earlier two to the new two."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from eigenselect.compressors import EmbeddingTable, Uniform, whole
from eigenselect.compressors.whole import TakenError, held, hidden_name
from eigenselect.export import VerificationError, rewrite_host
from eigenselect.export.host import proof, rewrite
from eigenselect.export.models.external import write
from tests.cases import gaussian
from tests.export.hosts import make_host, save_host
from tests.kills import killed_at_lines

TABLE = gaussian(40, 8)


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "session_bytes", lambda path: 0)


def publish(out: Path, value: float, *, external: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a model of one tensor to `out`, as `rewrite_host` does, its data outside of it or not."""
    tensor = numpy_helper.from_array(np.full(1000, value, np.float32), "v")
    nodes = [helper.make_node("Identity", ["v"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1000])]
    model = helper.make_model(helper.make_graph(nodes, "g", [], outputs, [tensor]))
    monkeypatch.setattr("eigenselect.export.models.external.EMBEDDED_BYTES", 0 if external else 1 << 20)
    with held(out.parent / hidden_name(out), out) as folder:
        written = folder / out.name
        write(model, out.parent, written, ())
        rewrite.publish(written, out)


def value_of(out: Path) -> float | None:
    """What the model at `out` holds, with the data file that it names: all of one model, or this fails."""
    if not out.exists():
        return None
    model = onnx.load(out)
    (value,) = {*numpy_helper.to_array(model.graph.initializer[0]).tolist()}
    return float(value)


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.slow, id="every line"), pytest.param(19, id="some lines")]
)
@pytest.mark.parametrize("before", [None, "outside", "inside"])
@pytest.mark.parametrize("external", [True, False])
def test_a_kill_at_any_line_leaves_the_earlier_model_or_the_new_one(before, external, every, tmp_path, monkeypatch):
    place = tmp_path / "place"
    out = place / "new.onnx"

    def prepare() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if before is not None:
            publish(out, 1, external=before == "outside", monkeypatch=monkeypatch)

    def work() -> None:
        publish(out, 2, external=external, monkeypatch=monkeypatch)

    prepare()
    seen = set()
    for _ in killed_at_lines(work, whole, rewrite, every=every):
        seen.add(value_of(out))
        work()
        assert value_of(out) == 2
        assert len([*place.iterdir()]) == 1 + external, [*place.iterdir()]
        prepare()
    assert 2 in seen and seen <= {2, None if before is None else 1} and (len(seen) == 2 or every > 1)


def test_a_second_export_ends_with_the_same_files(tmp_path, monkeypatch):
    host = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    out, found = tmp_path / "out" / "new.onnx", []
    out.parent.mkdir()
    for bits in (4, 2, 4):
        payload = Uniform(bits).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
        report = rewrite_host(host, payload, out)
        found.append({path.name: path.read_bytes() for path in out.parent.iterdir()})
        assert report.file_bytes == sum(path.stat().st_size for path in out.parent.iterdir())
        onnx.checker.check_model(out, full_check=True)
    assert found[0] == found[2] != found[1] and {*found[0]} == {*found[1]} == {"new.onnx", "new.onnx.data"}

    def refuse(*args: object) -> None:
        raise VerificationError("no")

    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    monkeypatch.setattr(rewrite, "prove", refuse)
    with pytest.raises(VerificationError):
        rewrite_host(host, payload, out)
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


def test_a_second_export_to_the_same_file_is_refused_by_name(tmp_path):
    host = save_host(make_host(TABLE), tmp_path / "host.onnx")
    payload = Uniform(4).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    out = tmp_path / "new.onnx"
    with held(tmp_path / hidden_name(out), out):
        with pytest.raises(TakenError, match=r"out = .*new\.onnx is being written by process \d+ on "):
            rewrite_host(host, payload, out)
        rewrite_host(host, payload, tmp_path / "other.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"host.onnx", "other.onnx"}
