"""A rewritten host that is not what it should be is seen, and one is rewritten again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper

from eigenselect.compressors import EmbeddingTable, Identity, KMeans
from eigenselect.export import HostReport, VerificationError, rewrite_host
from eigenselect.export.host import proof, rewrite
from eigenselect.export.models.scopes import Model
from tests.cases import decode, gaussian
from tests.export.hosts import make_host, save_host, stored
from tests.export.rewritten import NODE, TABLE, D, refused, uniform

pytestmark = pytest.mark.usefixtures("no_processes")


def unverified(path: Path, message: str) -> None:
    (path.parent / "new.onnx").write_bytes(b"mine")
    with pytest.raises(VerificationError, match=message):
        rewrite_host(path, uniform(), path.parent / "new.onnx")
    assert (path.parent / "new.onnx").read_bytes() == b"mine" and len(list(path.parent.iterdir())) == 2


def test_a_wrong_byte_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    add = rewrite.add

    def corrupt(model: onnx.ModelProto, arrays: list[TensorProto], functions: Any) -> None:
        packed = next(t for t in arrays if t.name.endswith("packed"))
        packed.raw_data = bytes(byte ^ 255 for byte in packed.raw_data[:7]) + packed.raw_data[7:]  # the first row
        add(model, arrays, functions)

    monkeypatch.setattr(rewrite, "add", corrupt)
    unverified(path, r"^new\.onnx: relative_error is 0\.\d+, allowed is 1e-06: not written$")


def test_a_decode_that_is_not_numpys_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    other = uniform(bits=2)
    write = proof.write
    monkeypatch.setattr(proof, "write", lambda payload, path, **made: write(other, path, **made))
    unverified(path, r"^new\.onnx: table_error is 0\.\d+, allowed is 1e-06: not written$")


@pytest.mark.parametrize("what", ["an array more", "a table expanded at load", "memory"])
def test_what_is_too_large_is_seen(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_host(make_host(gaussian(2000, D)), tmp_path / "host.onnx")
    replace = rewrite.replace_lookups
    extra = np.random.default_rng(0).integers(0, 9, (2000, D)).astype(np.int8)

    def put_more(found: Model, table: Any, prefix: str, lookup: Any) -> Any:
        def more(ids: str) -> list[NodeProto]:
            *nodes, last = lookup(ids)
            out = last.output[0]
            last.output[0] = f"{prefix}before"
            wide = NODE("Cast", [f"{prefix}more"], [f"{prefix}wide"], name=f"{prefix}wide", to=TensorProto.FLOAT)
            some = NODE("Gather", [f"{prefix}wide", ids], [f"{prefix}some"], name=f"{prefix}some")
            none = NODE("Mul", [f"{prefix}some", f"{prefix}nought"], [f"{prefix}none"], name=f"{prefix}none")
            total = NODE("Add", [f"{prefix}before", f"{prefix}none"], [out], name=f"{prefix}total")
            return [*nodes, last, wide, some, none, total]

        return replace(found, table, prefix, more)

    def add_more(model: onnx.ModelProto, arrays: list[TensorProto], functions: Any) -> None:
        add(
            model,
            [*arrays, stored(extra, "es0.more"), stored(np.float32([0]), "es0.nought")],
            functions,
        )

    add = rewrite.add
    if what == "memory":
        monkeypatch.setattr(proof, "session_bytes", lambda path: (1 << 25) * (path.name == "new.onnx"))
        message = r"session_bytes is 33554432, allowed is 2\d{7}"
    else:
        monkeypatch.setattr(rewrite, "replace_lookups", put_more)
        monkeypatch.setattr(rewrite, "add", add_more)
        monkeypatch.setattr(proof, "OVERHEAD_BYTES", 0 if what == "an array more" else 1 << 15)
        message = "file_bytes is" if what == "an array more" else "constant_bytes is"
    (path.parent / "new.onnx").write_bytes(b"mine")
    with pytest.raises(VerificationError, match=message):
        rewrite_host(path, uniform(gaussian(2000, D)), path.parent / "new.onnx")
    assert (path.parent / "new.onnx").read_bytes() == b"mine" and len(list(path.parent.iterdir())) == 2


def test_memory_is_measured_in_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    report = rewrite_host(path, uniform(), tmp_path / "new.onnx").proof
    for measured in (report.session_bytes, report.host_session_bytes):
        assert 0 < measured <= 20_000_000


# --- more than once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [12, 13])
def test_a_rewritten_host_is_rewritten_for_another_table(first: int, tmp_path: Path) -> None:
    """12 columns of 4 bits fill bytes and 13 do not: the one function of both must serve them."""
    second = 25 - first
    tables = {"a": gaussian(60, first, seed=1), "b": gaussian(70, second, seed=2)}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [NODE("Gather", [name, "ids"], [f"{name}.rows"]) for name in tables],
        "g",
        [info("ids", TensorProto.INT64, ["n"])],
        [info(f"{name}.rows", TensorProto.FLOAT, ["n", table.shape[1]]) for name, table in tables.items()],
        [stored(table, name) for name, table in tables.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    payloads = [uniform(table) for table in tables.values()]
    rewrite_host(save_host(model, tmp_path / "0.onnx"), payloads[0], tmp_path / "1.onnx")
    rewrite_host(tmp_path / "1.onnx", payloads[1], tmp_path / "2.onnx")
    new = onnx.load(tmp_path / "2.onnx")
    assert [(f.domain, f.name) for f in new.functions] == [("eigenselect", "DequantizeGather")]
    assert [entry.domain for entry in new.opset_import] == ["", "eigenselect"]
    assert {t.name for t in new.graph.initializer} == {f"es{i}.{p}" for i in (0, 1) for p in ("packed", "lut")}
    got = ort.InferenceSession(tmp_path / "2.onnx").run(None, {"ids": np.arange(60)})
    for rows, payload in zip(got, payloads, strict=True):
        np.testing.assert_array_equal(rows, decode(payload)[:60])
    new.functions[0].node.add().CopyFrom(NODE("Identity", ["ids"], ["unused"]))
    path = save_host(new, tmp_path / "0.onnx")
    new.graph.node[0].CopyFrom(NODE("Gather", ["late", "ids"], [new.graph.node[0].output[0]]))
    new.graph.initializer.append(stored(tables["a"], "late"))
    refused(save_host(new, path), payloads[0], "has a eigenselect.DequantizeGather of another version")


def test_the_report_is_plain_data_and_text(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    report = rewrite_host(path, uniform(), tmp_path / "new.onnx")
    assert isinstance(report, HostReport) and json.loads(json.dumps(asdict(report), allow_nan=False))
    before, after = path.stat().st_size, (tmp_path / "new.onnx").stat().st_size
    text = str(report)
    assert f"size: {before:,} bytes before, {after:,} after (15,600 of the table out, " in text
    assert "output y: cosine 0.9" in text and "on made inputs" in text and "looked up once" in text


def test_lossless_payloads_change_nothing(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx")
    payload = Identity("float32").compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    report = rewrite_host(path, payload, tmp_path / "new.onnx", recorded_error=0.0)
    assert report.outputs[0].max_abs_difference == 0 and report.outputs[0].cosine == pytest.approx(1)
    assert KMeans(1).compress(EmbeddingTable(TABLE), np.random.default_rng(0)).nbytes < report.payload_bytes
