"""A host whose table loses rows: it takes new ids, or its old ones by a map, and gives what the kept rows give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from eigenselect.compressors import EmbeddingTable, Identity, Payload, Uniform
from eigenselect.export import Kept, rewrite_host
from tests.cases import decode, gaussian
from tests.export.forms import NODE, stored
from tests.export.hosts import entries, make_host, save_host

N, D = 300, 13
TABLE = gaussian(N, D)
ROWS = np.random.default_rng(4).permutation(N)[:90]
TYPES = np.random.default_rng(5).integers(0, 2, (3, 7))
OLD = np.random.default_rng(6).integers(0, N, (3, 7))
NEW = np.random.default_rng(7).integers(0, len(ROWS), (3, 7))

pytestmark = pytest.mark.usefixtures("no_processes")


def payload_of(form: str = "plain", bits: int = 4) -> Payload:
    return Uniform(bits).compress(EmbeddingTable(entries(form, TABLE)[ROWS]), np.random.default_rng(0))


def run(model: Path | onnx.ModelProto, ids: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    source = model if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options).run(["y"], {"ids": ids, "types": TYPES})[0]


def close(got: np.ndarray, expected: np.ndarray) -> None:
    assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("form", ["plain", "external", "int8", "gathernd", "scales apart", "shards"])
def test_a_smaller_model_takes_new_ids(form: str, tmp_path: Path) -> None:
    path = save_host(make_host(TABLE, form), tmp_path / "host.onnx", external=form == "external")
    payload = payload_of(form)
    report = rewrite_host(path, payload, tmp_path / "new.onnx", kept=Kept(ROWS))
    assert (report.kept_rows, report.id_map_bytes) == (90, None) and report.outputs[0].cosine > 0.9
    close(run(tmp_path / "new.onnx", NEW), run(make_host(decode(payload)), NEW))
    assert "90 rows of the table are kept, and the model takes new ids" in str(report)


@pytest.mark.parametrize("form", ["plain", "old", "external", "if", "half"])
@pytest.mark.parametrize("oov", ["error", "zeros", 5])
def test_old_ids_are_mapped(form: str, oov: Any, tmp_path: Path) -> None:
    path = save_host(make_host(TABLE, form), tmp_path / "host.onnx", external=form == "external")
    payload = payload_of(form)
    report = rewrite_host(path, payload, tmp_path / "new.onnx", kept=Kept(ROWS, remap=True, oov=oov))
    assert report.id_map_bytes == 4 * N and f"by a map of {4 * N:,} bytes" in str(report)
    whole = np.zeros((N, D), np.float32)
    whole[ROWS] = decode(payload)
    if oov == 5:
        whole[np.setdiff1d(np.arange(N), ROWS)] = decode(payload)[5]
    by_hand = make_host(whole, "half" if form == "half" else "plain")
    kept = ROWS[NEW]
    close(run(tmp_path / "new.onnx", kept), run(by_hand, kept))
    close(run(tmp_path / "new.onnx", kept - N), run(by_hand, kept))
    if oov == "error":
        with pytest.raises(Exception, match=r"out of data bounds|out of bounds|out of range"):
            run(tmp_path / "new.onnx", OLD)
    else:
        close(run(tmp_path / "new.onnx", OLD), run(by_hand, OLD))
    onnx.checker.check_model(str(tmp_path / "new.onnx"), full_check=True)


def test_lossless_rows_change_nothing(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    payload = Identity("float32").compress(EmbeddingTable(TABLE[ROWS]), np.random.default_rng(0))
    for remap in (False, True):
        report = rewrite_host(path, payload, tmp_path / "new.onnx", kept=Kept(ROWS, remap), recorded_error=0.0)
        assert report.outputs[0].max_abs_difference == 0


USES: dict[str, tuple[list[onnx.NodeProto], str, str]] = {
    "a mask": (
        [NODE("Equal", ["ids", "one"], ["same"]), NODE("Cast", ["same"], ["h"], to=1)],
        "h",
        "go to Equal 'same'",
    ),
    "a second table": ([NODE("Gather", ["second", "ids"], ["h"])], "h", "go to Gather 'h'"),
    "ids of its own": (
        [NODE("Concat", ["first", "ids"], ["more"], axis=0), NODE("Gather", ["table", "more"], ["h"])],
        "h",
        "go to Concat 'more'",
    ),
    "computed": (
        [NODE("Neg", ["ids"], ["turned"]), NODE("Gather", ["table", "turned"], ["h"])],
        "h",
        "'turned' of .* are c",
    ),
}


@pytest.mark.parametrize("case", USES)
def test_new_ids_are_refused_where_old_ones_are_expected(case: str, tmp_path: Path) -> None:
    nodes, output, message = USES[case]
    model = make_host(TABLE, extra=nodes, outputs=[output])
    held = {"second": gaussian(N, 2), "one": np.array(1), "first": np.zeros((1, 1), np.int64)}
    model.graph.initializer.extend(stored(array, name) for name, array in held.items())
    path = save_host(model, tmp_path / "host.onnx")
    with pytest.raises(
        ValueError, match=rf"host\.onnx: .*{message}.*: export\.remap=true lets the model take its old ids$"
    ):
        rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=Kept(ROWS))
    assert not (tmp_path / "new.onnx").exists()
    if case == "a second table":
        rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=Kept(ROWS, remap=True))


def test_views_and_sizes_of_ids_are_no_other_use(tmp_path: Path) -> None:
    nodes = [
        NODE("Shape", ["ids"], ["size"]),
        NODE("Cast", ["size"], ["s"], to=TensorProto.FLOAT),
        NODE("Unsqueeze", ["s", "none"], ["t"]),
        NODE("Unsqueeze", ["t", "none"], ["h"]),
    ]
    model = make_host(TABLE, "gathernd", extra=nodes, outputs=["h"])
    model.graph.initializer.append(stored(np.array([0]), "none"))
    path = save_host(model, tmp_path / "host.onnx")
    rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=Kept(ROWS))
    close(run(tmp_path / "new.onnx", NEW), run(make_host(decode(payload_of())), NEW))


def test_given_inputs_with_dropped_ids(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    dropped = np.setdiff1d(np.arange(N), ROWS)
    np.savez(tmp_path / "in.npz", ids=dropped[None, :3], types=TYPES[:1, :3])
    for kept in (Kept(ROWS), Kept(ROWS, remap=True)):
        with pytest.raises(
            ValueError, match=rf"the inputs hold the id {dropped[0]}, whose row was dropped: give others$"
        ):
            rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=kept, inputs=tmp_path / "in.npz")
    rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=Kept(ROWS, True, "zeros"), inputs=tmp_path / "in.npz")


def test_other_rows_and_another_number_are_refused(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    with pytest.raises(ValueError, match=r"does not hold the 90 x 13 table .* has other values"):
        rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=Kept(ROWS[::-1].copy()))
    with pytest.raises(ValueError, match=r"^89 rows are kept and the payload has 90: give the map that it came with$"):
        rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=Kept(ROWS[1:]))
    with pytest.raises(ValueError, match="has another shape"):
        rewrite_host(path, payload_of(), tmp_path / "new.onnx", kept=Kept(ROWS + N))


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", ["plain", "int8"])
def test_a_copy_that_a_head_leaves_is_reported(form: str, turned: bool, tmp_path: Path) -> None:
    values = entries(form, TABLE)
    node = NODE("MatMul", ["x", "head"], ["h"]) if turned else NODE("Gather", ["head", "types"], ["h"], axis=1)
    model = make_host(TABLE, form, extra=[node], outputs=["h"])
    model.graph.initializer.append(stored(values.T if turned else values, "head"))
    path = save_host(model, tmp_path / "host.onnx")
    payload = Uniform(4).compress(EmbeddingTable(values), np.random.default_rng(0))
    report = rewrite_host(path, payload, tmp_path / "new.onnx")
    shape = "13 x 300" if turned else "300 x 13"
    assert report.copies == [f"'head' {shape} of 15,600 bytes"]
    assert f"copies of the table stay in the file for other uses: 'head' {shape}" in str(report)
    model.graph.initializer[-1].CopyFrom(stored((values.T if turned else values) * np.float32(1.001), "head"))
    assert rewrite_host(save_host(model, path), payload, tmp_path / "new.onnx").copies == []
