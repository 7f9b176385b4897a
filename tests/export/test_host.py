"""A payload in place of a model's table: the outputs are those of the model with the decoded table put in by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from eigenselect.export import rewrite_host
from eigenselect.export.choices import TARGETS, Target
from eigenselect.export.models.scopes import tensors
from eigenselect.export.operators import model
from tests.cases import CASES, Case, decode, payload_of
from tests.export.hosts import FORMS, entries, make_host, save_host, stored
from tests.export.rewritten import NODE, TABLE, D, N, check_rows, feeds, refused, run, uniform

pytestmark = pytest.mark.usefixtures("no_processes")


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


@pytest.mark.parametrize(("turn", "case"), list(enumerate(representatives())), ids=lambda one: getattr(one, "id", ""))
def test_every_kind_at_the_first_and_last_opset_and_one_between(turn: int, case: Case, tmp_path: Path) -> None:
    payload = payload_of(case, "gaussian")
    opsets = (13, 14 + turn % 7, 21)
    for opset, ids in zip(opsets, itertools.cycle([TensorProto.INT32, TensorProto.INT64]), strict=False):
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
