"""What a rewrite leaves of a host: all that is not the table, byte by byte, and its data files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eigenselect.compressors import Payload
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export import rewrite_host
from eigenselect.export.models.scopes import Model
from eigenselect.export.models.stored import array
from eigenselect.export.verification.parity import OVERHEAD_BYTES
from tests.export.hosts import entries, make_host, save_host, stored
from tests.export.rewritten import NODE, TABLE, D, check_rows, feeds, uniform

pytestmark = pytest.mark.usefixtures("no_processes")


def texts(values: Any) -> list[bytes]:
    return [value.SerializeToString() for value in values]


GONE: dict[str, tuple[set[str], set[str]]] = {
    "plain": ({"rows"}, {"table"}),
    "identity": ({"table", "rows"}, {"stored"}),
    "transposed": ({"table", "rows"}, {"stored"}),
    "constant": ({"table", "rows"}, set()),
    "mirrored": ({"rows"}, {"table"}),
    "twice": ({"rows", "more"}, {"table"}),
    "half": ({"rows"}, {"table"}),
    "int8": ({"codes", "table", "rows"}, {"stored", "scale"}),
    "whole": ({"table", "rows"}, {"stored", "scale", "zero"}),
    "quantizer": ({"codes", "rows"}, {"stored", "scale", "zero"}),
    "gathernd": ({"at", "rows"}, {"table", "last"}),
    "scales apart": ({"codes", "wide", "factors", "rows"}, {"stored", "scale"}),
}
"""Form -> outputs of the nodes, and the tensors, that go."""


@pytest.mark.parametrize("form", GONE)
def test_all_else_is_byte_equal(form: str, tmp_path: Path) -> None:
    before = make_host(TABLE, form)
    path = save_host(before, tmp_path / "host.onnx")
    rewrite_host(path, uniform(entries(form, TABLE)), tmp_path / "new.onnx")
    after = onnx.load(tmp_path / "new.onnx")
    nodes, gone = GONE[form]
    kept = [node for node in before.graph.node if node.output[0] not in nodes]
    assert texts(n for n in after.graph.node if not n.name.startswith("es0.")) == texts(kept)
    old = [tensor for tensor in before.graph.initializer if tensor.name not in gone]
    assert texts(t for t in after.graph.initializer if not t.name.startswith("es0.")) == texts(old)
    assert texts(after.graph.input) == texts(i for i in before.graph.input if i.name not in gone)
    assert texts(after.graph.value_info) == texts(before.graph.value_info)
    for name in ("output",):
        assert texts(getattr(after.graph, name)) == texts(getattr(before.graph, name))
    assert texts(after.opset_import)[:-1] == texts(before.opset_import)
    assert (after.opset_import[-1].domain, after.opset_import[-1].version) == ("eigenselect", 1)
    assert texts(after.metadata_props) == texts(before.metadata_props)
    for part in (before, after):  # nothing is left that was not compared
        for name in ("node", "initializer", "input", "output", "value_info"):
            part.graph.ClearField(name)
        for name in ("opset_import", "metadata_props", "functions"):
            part.ClearField(name)
    assert after.SerializeToString() == before.SerializeToString()


def test_new_nodes_stand_where_the_lookup_stood(tmp_path: Path) -> None:
    rewrite_host(save_host(make_host(TABLE), tmp_path / "host.onnx"), uniform(), tmp_path / "new.onnx")
    nodes = onnx.load(tmp_path / "new.onnx").graph.node
    assert [node.op_type for node in nodes] == ["DequantizeGather", "Gather", "Add", "MatMul", "Tanh"]
    assert list(nodes[0].output) == ["rows"]


@pytest.mark.parametrize("form", ["if", "inner", "loop"])
def test_arrays_are_stored_once_and_in_the_main_graph(form: str, tmp_path: Path) -> None:
    rewrite_host(save_host(make_host(TABLE, form), tmp_path / "host.onnx"), uniform(), tmp_path / "new.onnx")
    new = onnx.load(tmp_path / "new.onnx")
    ours = [t.name for scope in Model(new).scopes for t in scope.graph.initializer if t.name.startswith("es0.")]
    assert sorted(ours) == ["es0.lut", "es0.packed"]
    assert {*ours} <= {tensor.name for tensor in new.graph.initializer}


@pytest.mark.parametrize(("form", "payload"), [("old", uniform()), ("old", Dense(TABLE)), ("plain", Dense(TABLE))])
def test_ir_versions(form: str, payload: Payload, tmp_path: Path) -> None:
    """Raised only where functions need it; listed inputs must not become overridable with that."""
    rewrite_host(save_host(make_host(TABLE, form), tmp_path / "host.onnx"), payload, tmp_path / "new.onnx")
    new = onnx.load(tmp_path / "new.onnx")
    listed = {value.name for value in new.graph.input} & {tensor.name for tensor in new.graph.initializer}
    if form == "plain":
        assert (new.ir_version, listed, list(new.functions)) == (8, set(), [])
    elif isinstance(payload, Dense):
        assert (new.ir_version, listed) == (3, {"types.weight", "weight", "es0.table"})
    else:
        assert (new.ir_version, listed) == (8, set())


def test_a_scale_that_others_use_stays(tmp_path: Path) -> None:
    model = make_host(TABLE, "whole", extra=[NODE("Mul", ["typed", "scale"], ["h"])], outputs=["h"])
    rewrite_host(save_host(model, tmp_path / "host.onnx"), uniform(entries("whole", TABLE)), tmp_path / "new.onnx")
    left = {tensor.name for tensor in onnx.load(tmp_path / "new.onnx").graph.initializer}
    assert "scale" in left and not left & {"stored", "zero"}


@pytest.mark.parametrize("form", ["gathernd", "scales apart", "quantizer"])
def test_what_two_lookups_share_is_removed_once(form: str, tmp_path: Path) -> None:
    """The indices of a GatherND, the cast of integer rows, a Gather whose rows are dequantized twice."""
    last = make_host(TABLE, form).graph.node[{"gathernd": 2, "scales apart": 3, "quantizer": 1}[form]]
    again = NODE(last.op_type, last.input, ["more"])
    model = make_host(TABLE, form, extra=[again, NODE("Neg", ["more"], ["h"])], outputs=["h"])
    path = save_host(model, tmp_path / "host.onnx")
    payload = uniform(entries(form, TABLE))
    assert rewrite_host(path, payload, tmp_path / "new.onnx").lookups == 2
    check_rows(tmp_path / "new.onnx", payload, feeds())
    kept = [node.op_type for node in onnx.load(tmp_path / "new.onnx").graph.node if not node.name.startswith("es0.")]
    assert kept == [*(["Cast"] if form == "gathernd" else []), "Gather", "Add", "MatMul", "Tanh", "Neg"]


# --- external data ----------------------------------------------------------------------------------------------------


def test_what_is_told_of_a_value_goes_with_it(tmp_path: Path) -> None:
    model = make_host(TABLE, "int8")
    model.graph.value_info.append(helper.make_tensor_value_info("table", TensorProto.FLOAT, TABLE.shape))
    rewrite_host(save_host(model, tmp_path / "host.onnx"), uniform(entries("int8", TABLE)), tmp_path / "new.onnx")
    assert [value.name for value in onnx.load(tmp_path / "new.onnx").graph.value_info] == ["z", "rows"]


def test_external_data_are_moved_and_the_table_is_left_out(tmp_path: Path) -> None:
    big = np.random.default_rng(0).standard_normal((D, 5000)).astype(np.float32)
    model = make_host(TABLE, extra=[NODE("MatMul", ["x", "big"], ["h"])], outputs=["h"])
    model.graph.initializer.append(stored(big, "big"))
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    path = save_host(model, tmp_path / "host.onnx", external=True)
    (tmp_path / "out").mkdir()
    report = rewrite_host(path, uniform(), tmp_path / "out" / "new.onnx")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["new.onnx", "new.onnx.data"]
    new = onnx.load(tmp_path / "out" / "new.onnx", load_external_data=False)
    kept = {t.name: array(t, tmp_path / "out") for t in new.graph.initializer}
    assert {*kept} == {*before} - {"table"} | {"es0.packed", "es0.lut"}
    for name in {*kept} & {*before}:
        np.testing.assert_array_equal(kept[name], before[name], strict=True)
    assert isinstance(kept["big"], np.memmap) and isinstance(kept["es0.packed"], np.memmap)
    sizes = [sum(file.stat().st_size for file in folder.glob("*.onnx*")) for folder in (tmp_path, tmp_path / "out")]
    assert [report.host_bytes, report.file_bytes] == sizes and report.removed_bytes == TABLE.nbytes
    assert sizes[1] <= sizes[0] - TABLE.nbytes + report.payload_bytes + OVERHEAD_BYTES


def test_a_tensor_that_started_on_a_page_still_does(tmp_path: Path) -> None:
    model = make_host(TABLE)
    path = save_host(model, tmp_path / "host.onnx", external=True)
    starts = {
        t.name: int(t.external_data[1].value) % 4096
        for t in onnx.load(path, load_external_data=False).graph.initializer
        if t.external_data
    }
    rewrite_host(path, uniform(), tmp_path / "new.onnx")
    new = onnx.load(tmp_path / "new.onnx", load_external_data=False).graph.initializer
    moved = {t.name: int(t.external_data[1].value) % 4096 for t in new if t.external_data}
    common = {*starts} & {*moved}
    assert common and all(starts[name] == moved[name] for name in common)


def test_a_model_that_would_not_fit_one_file_gets_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigenselect.export.models.external.EMBEDDED_BYTES", 3000)
    rewrite_host(save_host(make_host(TABLE), tmp_path / "host.onnx"), uniform(), tmp_path / "new.onnx")
    assert (tmp_path / "new.onnx.data").stat().st_size > 1500
    check_rows(tmp_path / "new.onnx", uniform(), feeds())
