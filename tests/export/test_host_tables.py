"""Which table of a host is the one that was compressed, and what else uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export import embedding_table, rewrite_host
from eigenselect.export.verification.parity import OVERHEAD_BYTES
from tests.cases import decode, gaussian
from tests.export.hosts import entries, make_host, save_host, stored
from tests.export.rewritten import NODE, TABLE, D, N, check_rows, feeds, refused, tied, uniform

pytestmark = pytest.mark.usefixtures("no_processes")


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
@pytest.mark.parametrize(
    "form", ["plain", "half", "int8", "whole", "int4", "int4 blocks", "int8 blocks", "float8 rows"]
)
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
