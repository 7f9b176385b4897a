"""A payload in place of a model's table: the outputs are those of the model with the decoded table put in by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from eigenselect.compressors import PCA, EmbeddingTable, Identity, KMeans, Payload, Uniform
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export import HostReport, VerificationError, embedding_table, rewrite_host
from eigenselect.export.choices import TARGETS, Target
from eigenselect.export.host import proof, rewrite
from eigenselect.export.models.scopes import Model, tensors
from eigenselect.export.models.sessions import made_inputs
from eigenselect.export.models.stored import array
from eigenselect.export.models.tables import rows_by_input
from eigenselect.export.operators import model
from eigenselect.export.verification.parity import OVERHEAD_BYTES
from tests.cases import CASES, Case, decode, gaussian, payload_of
from tests.export.hosts import FORMS, entries, make_host, save_host, stored

N, D = 300, 13
TABLE = gaussian(N, D)
NODE = helper.make_node


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is measured in a process each: one test below starts them."""
    monkeypatch.setattr(proof, "session_bytes", lambda path: 0)


def kinds(spec: Any) -> Iterator[str]:
    if isinstance(spec, dict):
        yield from ([spec["kind"]] if "kind" in spec else [])
        for value in spec.values():
            yield from kinds(value)


def representatives() -> list[Case]:
    """A case for each set of payload kinds, of those that keep the table's columns."""
    found: dict[tuple[str, ...], Case] = {}
    for case in CASES:
        if case.keeps_dimension:
            found.setdefault(tuple(sorted({*kinds(payload_of(case, "gaussian")._spec())})), case)
    return list(found.values())


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


# --- every kind, opset and form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", representatives(), ids=lambda case: case.id)
def test_every_kind_at_every_opset(case: Case, tmp_path: Path) -> None:
    payload = payload_of(case, "gaussian")
    for opset, ids in zip(range(13, 22), itertools.cycle([TensorProto.INT32, TensorProto.INT64]), strict=False):
        path = save_host(make_host(TABLE, opset=opset, ids=ids), tmp_path / "host.onnx")
        report = rewrite_host(path, payload, tmp_path / "new.onnx")
        new = onnx.load(tmp_path / "new.onnx")
        assert {entry.domain: entry.version for entry in new.opset_import}[""] == opset == report.opset
        check_rows(tmp_path / "new.onnx", payload, feeds(ids), opset=opset, ids=ids)


@pytest.mark.parametrize("opset", range(22, onnx.defs.onnx_opset_version() + 1))
def test_newer_opsets(opset: int, tmp_path: Path) -> None:
    path = save_host(make_host(TABLE, opset=opset), tmp_path / "host.onnx")
    try:
        run(path, feeds())
    except Exception:  # ONNX Runtime has an exception class of its own for each reason
        refused(path, uniform(), r"host\.onnx: ONNX Runtime .* cannot load it \(.*[oO]pset \d+.*\): upgrade onnxr")
        return
    rewrite_host(path, uniform(), tmp_path / "new.onnx")
    check_rows(tmp_path / "new.onnx", uniform(), feeds(), opset=opset)


def test_a_runtime_too_old_for_the_target_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_host(make_host(TABLE, opset=18), tmp_path / "host.onnx")
    monkeypatch.setattr(model, "runs", lambda opset, target: (opset, target) != (18, "cpu"))
    refused(
        path, uniform(), r"^target = cpu at opset 18: ONNX Runtime .* does not run it; cpu needs 1\.21", target="cpu"
    )
    rewrite_host(path, uniform(), tmp_path / "new.onnx")


@pytest.mark.parametrize(
    ("form", "target"),
    [*((form, "portable") for form in FORMS), *((form, of) for of in TARGETS[1:] for form in ("plain", "half", "if"))],
)
def test_every_form_of_the_table(form: str, target: Target, tmp_path: Path) -> None:
    path = save_host(make_host(TABLE, form), tmp_path / "host.onnx", external=form == "external")
    payload = uniform(entries(form, TABLE))
    report = rewrite_host(path, payload, tmp_path / "new.onnx", target=target)
    assert report.lookups == (2 if form in ("twice", "if") else 1)
    if form == "half":  # the rows are rounded once more
        got, expected = run(tmp_path / "new.onnx", feeds()), run(make_host(decode(payload), "half"), feeds())
        np.testing.assert_allclose(got, expected, atol=1e-6)
    else:
        check_rows(tmp_path / "new.onnx", payload, feeds(), form if form in ("twice", "inner") else "plain")
    onnx.checker.check_model(str(tmp_path / "new.onnx"), full_check=True)
    left = {tensor.name for tensor in tensors(onnx.load(tmp_path / "new.onnx", load_external_data=False))}
    assert not {"table", "stored", "scale", "zero", "t", "last", "shard0", "shard1", "least", "factor"} & left


@pytest.mark.parametrize("name", ["pca-k6-keep-uniform-b4", "row-absmax-b4", "float16", "exact3+11-kmeans-b3"])
def test_a_half_precision_host_gets_the_rows_rounded(name: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.id == name)
    payload = payload_of(case, "gaussian")
    path = save_host(make_host(TABLE, "half"), tmp_path / "host.onnx")
    rewrite_host(path, payload, tmp_path / "new.onnx")
    got, expected = run(tmp_path / "new.onnx", feeds()), run(make_host(decode(payload), "half"), feeds())
    np.testing.assert_allclose(got, expected, atol=2**-10)


@pytest.mark.parametrize("shape", [(), (2, 1, 3)])  # two ranks are tried above
@pytest.mark.parametrize("case", representatives(), ids=lambda case: case.id)
def test_ids_of_any_rank(case: Case, shape: tuple[int, ...], tmp_path: Path) -> None:
    payload = payload_of(case, "gaussian")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [NODE("Gather", ["table", "ids"], ["y"])],
        "g",
        [info("ids", TensorProto.INT32, [f"n{i}" for i in range(len(shape))])],
        [info("y", TensorProto.FLOAT, [*(f"n{i}" for i in range(len(shape))), D])],
        [stored(TABLE, "table")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 16)])
    rewrite_host(save_host(model, tmp_path / "host.onnx"), payload, tmp_path / "new.onnx")
    ids = np.random.default_rng(1).integers(-N, N, shape).astype(np.int32)
    got, expected = run(tmp_path / "new.onnx", {"ids": ids}), decode(payload)[ids]
    assert got.shape == (*shape, D)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    with pytest.raises(Exception, match=r"out of data bounds|out of bounds|out of range"):
        run(tmp_path / "new.onnx", {"ids": np.full(shape, N, np.int32)})


# --- all else stays ---------------------------------------------------------------------------------------------------


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


# --- tied heads -------------------------------------------------------------------------------------------------------


def tied(form: str = "plain") -> onnx.ModelProto:
    head = [NODE("Transpose", ["table"], ["t"], perm=[1, 0], name="turn"), NODE("MatMul", ["x", "t"], ["h"])]
    return make_host(TABLE, form, extra=head, outputs=["h"])


@pytest.mark.parametrize("form", ["plain", "int8"])
def test_a_tied_head_is_refused_or_kept(form: str, tmp_path: Path) -> None:
    path, payload = save_host(tied(form), tmp_path / "host.onnx"), uniform(entries(form, TABLE))
    with pytest.raises(ValueError, match=r"is used by Transpose 'turn' too \(a tied output head\?\).*tied=keep does t"):
        rewrite_host(path, payload, tmp_path / "new.onnx")
    report = rewrite_host(path, payload, tmp_path / "new.onnx", tied="keep")
    assert report.kept_for == ["Transpose 'turn'"] and report.removed_bytes == 0
    assert "stays in the file for Transpose 'turn'" in str(report)
    assert path.stat().st_size < report.file_bytes <= path.stat().st_size + payload.nbytes + OVERHEAD_BYTES
    check_rows(tmp_path / "new.onnx", payload, feeds())


# --- which table ------------------------------------------------------------------------------------------------------


def refused(path: Path, payload: Payload, message: str, out: str = "new.onnx", **options: Any) -> None:
    """Refused in one line; the host and what was there before are untouched, and nothing is left behind."""
    folder = path.parent
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=message) as caught:
        rewrite_host(path, payload, folder / out, **options)
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert not list(folder.glob(".eigenselect*"))


def test_a_host_without_the_table_lists_what_it_has(tmp_path: Path) -> None:
    path = save_host(make_host(gaussian(N, D, seed=9), "int8"), tmp_path / "host.onnx")
    (tmp_path / "new.onnx").write_bytes(b"mine")
    refused(
        path,
        uniform(),
        r"host\.onnx: it does not hold the 300 x 13 table that was compressed: 'stored' 300 x 13 int8 has other "
        r"values, (4[0-9]|5[0-9])% of its rows are nearer to their own than to another, not 75%; and 1 more$",
    )
    refused(path, uniform(gaussian(299, D)), "the 299 x 13 table .* 'stored' 300 x 13 int8 has another shape;")


def test_a_permuted_table_is_another_one(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE[::-1]), tmp_path / "host.onnx")
    refused(path, uniform(), "has other values")


def test_a_table_of_equal_rows_is_never_matched(tmp_path: Path) -> None:
    path = save_host(make_host(np.ones((N, D), np.float32)), tmp_path / "host.onnx")
    refused(path, uniform(np.ones((N, D), np.float32)), "has other values, 50% of its rows")


def test_two_tables_that_match_are_named(tmp_path: Path) -> None:
    model = make_host(TABLE, extra=[NODE("Gather", ["copy", "types"], ["h"])])
    model.graph.initializer.append(stored(TABLE + np.float32(1e-4), "copy"))
    path = save_host(model, tmp_path / "host.onnx")
    refused(path, uniform(), r"'table' 300 x 13 float32 and 'copy' 300 x 13 float32 both match: store the table once")


def two_equal(head: bool = False) -> onnx.ModelProto:
    """A copy of the table for each of two inputs; an output head may use the copy."""
    extra = [NODE("Gather", ["copy", "types"], ["h"])]
    extra += [NODE("Transpose", ["copy"], ["turned"], name="turn"), NODE("MatMul", ["x", "turned"], ["k"])] * head
    model = make_host(TABLE, extra=extra, outputs=["h", "k"] if head else ["h"])
    model.graph.initializer.append(stored(TABLE, "copy"))
    return model


def test_bitwise_equal_tables_are_one(tmp_path: Path) -> None:
    path = save_host(two_equal(), tmp_path / "host.onnx")
    for name in (None, "table", "copy"):
        np.testing.assert_array_equal(embedding_table(path, name), TABLE)
    report = rewrite_host(path, uniform(), tmp_path / "new.onnx")
    assert (report.table, report.lookups) == ("'table' = 'copy' 300 x 13 float32", 2)
    assert report.removed_bytes == 2 * TABLE.nbytes and report.proof.relative_error <= 1e-6
    check_rows(tmp_path / "new.onnx", uniform(), feeds())
    session = ort.InferenceSession(tmp_path / "new.onnx")
    (second,) = session.run(["h"], feeds())
    np.testing.assert_allclose(second, decode(uniform())[feeds()["types"]], rtol=1e-6, atol=1e-7)


def test_of_equal_tables_the_one_that_a_head_uses_stays(tmp_path: Path) -> None:
    path = save_host(two_equal(head=True), tmp_path / "host.onnx")
    refused(path, uniform(), r"'table' = 'copy' 300 x 13 float32 is used by Transpose 'turn' too")
    report = rewrite_host(path, uniform(), tmp_path / "new.onnx", tied="keep")
    assert (report.lookups, report.removed_bytes) == (2, TABLE.nbytes)
    left = {tensor.name for tensor in onnx.load(tmp_path / "new.onnx").graph.initializer}
    assert "copy" in left and "table" not in left


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_a_table_of_one_column_matches_itself_alone(bits: int, tmp_path: Path) -> None:
    column = gaussian(N, 1)
    path = save_host(make_host(column), tmp_path / "host.onnx")
    rewrite_host(path, uniform(column, bits), tmp_path / "new.onnx")
    check_rows(tmp_path / "new.onnx", uniform(column, bits), feeds())
    refused(path, uniform(gaussian(N, 1, seed=9), bits), r"has other values, (4\d|5\d)% of its rows are nearer")
    one = np.eye(N, 1, dtype=np.float32)
    refused(path, Dense(one), r"has other values, [456]\d% of its rows are nearer")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("form", ["plain", "half", "int8", "whole"])
def test_the_recorded_error_is_found_again_in_any_storage(form: str, bits: int, tmp_path: Path) -> None:
    """The payload was made of the float table, and the host holds it rounded."""
    payload = uniform(bits=bits)
    recorded = float(np.linalg.norm(decode(payload) - TABLE) / np.linalg.norm(TABLE))
    path = save_host(make_host(TABLE, form), tmp_path / "host.onnx")
    report = rewrite_host(path, payload, tmp_path / "new.onnx", recorded_error=recorded)
    held = entries(form, TABLE)
    assert report.reconstruction_error == pytest.approx(
        np.linalg.norm(decode(payload) - held) / np.linalg.norm(held), rel=1e-5
    )


@pytest.mark.parametrize("form", ["plain", "half"])
def test_another_version_of_the_table_is_refused(form: str, tmp_path: Path) -> None:
    payload = uniform()
    recorded = float(np.linalg.norm(decode(payload) - TABLE) / np.linalg.norm(TABLE))
    tuned = TABLE + np.random.default_rng(1).standard_normal(TABLE.shape).astype(np.float32) * 0.05
    path = save_host(make_host(tuned, form), tmp_path / "host.onnx")
    refused(
        path,
        payload,
        r"is another version of the table that was compressed: the payload's relative reconstruction error on it is "
        r"0\.\d+, recorded is 0\.\d+, and they may differ by 0\.\d+",
        recorded_error=recorded,
    )
    rewrite_host(path, payload, tmp_path / "new.onnx")  # without a record the values alone decide


# --- bad input --------------------------------------------------------------------------------------------------------


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "host.onnx").write_bytes(b"no model at all")
    refused(tmp_path / "host.onnx", uniform(), r"host\.onnx is not a valid ONNX model \(")
    model = make_host(TABLE)
    del model.graph.node[1]
    refused(save_host(model, tmp_path / "host.onnx"), uniform(), r"is not a valid ONNX model \(.*'typed'")
    with pytest.raises(ValueError, match=r"^.*nowhere\.onnx: no such file: correct the path$"):
        rewrite_host(tmp_path / "nowhere.onnx", uniform(), tmp_path / "new.onnx")


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    refused(path, uniform(), r"^target = 'abacus': must be one of portable, cpu, cuda$", target="abacus")
    refused(path, uniform(), r"^tied = 'yes': must be refuse or keep$", tied="yes")
    refused(path, uniform(), r"there is no folder .*nowhere: make it first", out="nowhere/new.onnx")
    refused(path, uniform(), r"would overwrite .*host\.onnx of the host: give another name", out="host.onnx")
    (tmp_path / "there").mkdir()
    refused(path, uniform(), r"there is a folder: name a file", out="there")
    own = PCA(dim=5).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    refused(path, own, "the payload decodes to coordinates of its own")


def test_a_data_file_of_the_host_is_not_overwritten(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    (tmp_path / "host.onnx.weights").rename(tmp_path / "new.onnx.data")
    path.write_bytes(path.read_bytes().replace(b"host.onnx.weights", b"new.onnx.data\0\0\0\0"))
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.external_data:
            tensor.external_data[0].value = "new.onnx.data"
    path.write_bytes(model.SerializeToString())
    refused(path, uniform(), r"would overwrite .*new\.onnx\.data of the host")


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE, opset=12), tmp_path / "host.onnx")
    refused(path, uniform(), r"has opset 12: must be at least 13; onnx\.version_converter raises it")


# --- inputs -----------------------------------------------------------------------------------------------------------


def unfit(path: Path) -> Path:
    """A host that does not run on made inputs: it looks a table of two rows up by a sum of ids."""
    model = make_host(TABLE, extra=[NODE("Add", ["types", "types"], ["s"]), NODE("Gather", ["weight", "far"], ["h"])])
    model.graph.input.append(helper.make_tensor_value_info("far", TensorProto.INT32, ["k"]))
    model.graph.node.insert(0, NODE("Sub", ["far", "thousand"], ["below"]))
    model.graph.node[-1].input[1] = "below"
    model.graph.initializer.append(stored(np.array(1000, np.int32), "thousand"))
    return save_host(model, path)


def test_a_host_that_needs_inputs_asks_for_them(tmp_path: Path) -> None:
    path = unfit(tmp_path / "host.onnx")
    cure = (
        r"give inputs=FILE\.npz, written by numpy\.savez, with ids int64 \[batch, sequence\]; types int64 \[batch, "
        r"sequence\]; far int32 \[k\]"
    )
    refused(path, uniform(), rf"does not run on made inputs \(.*\): {cure}$")
    given = {**feeds(), "far": np.array([1000, 1001], np.int32)}
    np.savez(tmp_path / "in.npz", **given)
    report = rewrite_host(path, uniform(), tmp_path / "new.onnx", inputs=tmp_path / "in.npz")
    assert report.inputs == str(tmp_path / "in.npz")
    # What is told of the outputs, reckoned anew.
    before, after = (run(file, given).astype(np.float64) for file in (path, tmp_path / "new.onnx"))
    (told,) = report.outputs
    assert told.name == "y" and told.max_abs_difference == np.abs(after - before).max() > 0
    cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
    assert told.cosine == pytest.approx(cosine, abs=1e-12) and cosine < 1
    for bad, message in (
        (given | {"far": np.array([1000])}, "holds far as int64"),
        (given | {"more": np.zeros(1)}, r"holds \['far', 'ids', 'more', 'types'\]"),
        ({}, r"holds \[\]"),
        (given | {"far": np.array([{}])}, "cannot be read as .npz"),
        (given | {"far": np.array([5], np.int32)}, "does not run on those of"),
    ):
        np.savez(tmp_path / "in.npz", **bad)
        refused(path, uniform(), message, inputs=tmp_path / "in.npz")
    (tmp_path / "in.npz").write_bytes(b"no")
    refused(path, uniform(), r"cannot be read as \.npz .*give inputs=FILE\.npz", inputs=tmp_path / "in.npz")


def test_made_inputs_are_valid_and_fit_together() -> None:
    model = make_host(TABLE, ids=TensorProto.INT32)
    info = helper.make_tensor_value_info
    model.graph.input.extend(
        [
            info("attention_mask", TensorProto.INT64, ["batch", "past + sequence"]),
            info("state", TensorProto.FLOAT16, ["batch", 3, "past", 4]),
            info("flag", TensorProto.BOOL, []),
            info("turned", TensorProto.FLOAT, ["sequence", "batch"]),
            info("free", TensorProto.FLOAT, [None, None]),
        ]
    )
    made = made_inputs(model, rows_by_input(Model(model), Path()), np.random.default_rng(0))
    batch, sequence = made["ids"].shape
    assert made["ids"].dtype == np.int32 and {0, N - 1} <= {*made["ids"].ravel()} and made["ids"].max() < N
    assert made["types"].shape == made["ids"].shape and made["types"].max() == 1
    past = made["state"].shape[2]
    assert made["state"].shape == (batch, 3, past, 4) and made["state"].dtype == np.float16
    assert made["attention_mask"].shape == (batch, past + sequence) and (made["attention_mask"] == 1).all()
    assert made["flag"].shape == () and not made["flag"] and made["free"].shape == (batch, sequence)
    assert made["state"].std() > 0.5 and made["turned"].shape == (sequence, batch)


# --- verification -----------------------------------------------------------------------------------------------------


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
    to_onnx = proof.to_onnx
    monkeypatch.setattr(proof, "to_onnx", lambda payload, **made: to_onnx(other, **made))
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
