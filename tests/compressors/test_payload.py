"""Payload files: what is written, and that nothing else is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import save_file

from eigenselect.compressors import PCA, EmbeddingTable, Identity, KMeans, Uniform, load
from eigenselect.compressors.payloads import base
from eigenselect.compressors.payloads.coded import Coded
from eigenselect.compressors.payloads.composed import Projected, Repeated, Stacked, Sum
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.payloads.tensor_train import TensorTrain
from tests.cases import decode, gaussian

pytestmark = pytest.mark.quick

Arrays = dict[str, np.ndarray]
Spec = dict[str, Any]
Change = Callable[[Arrays, Spec], None]

TABLE = EmbeddingTable(gaussian(60, 13))
MADE_BY = {
    "dense": Identity(),
    "packed": Uniform(4),
    "sum": Uniform(3),
    "coded": KMeans(3),
    "projected": PCA(dim=5, keep_dimension=True, then=Uniform(2)),
}


def saved(name: str, path: Path) -> tuple[Arrays, Spec]:
    """The arrays and the specification of a payload file."""
    MADE_BY[name].compress(TABLE, np.random.default_rng(0)).save(path)
    with safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["payload"])


def changed(name: str, change: Change, path: Path) -> None:
    arrays, spec = saved(name, path)
    change(arrays, spec)
    save_file(arrays, path, metadata={"payload": json.dumps(spec)})


def test_file_of_a_nested_payload_by_hand(tmp_path: Path) -> None:
    arrays, spec = saved("projected", tmp_path / "p.safetensors")
    assert spec == {"version": 1, "kind": "Projected", "part": {"kind": "Packed", "dim": 5}}
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "part.packed": ("uint8", (60, 2)),
        "part.codebook": ("float32", (4, 1)),
        "matrix": ("float32", (5, 13)),
    }


def test_file_is_readable_by_all(tmp_path: Path) -> None:
    saved("dense", tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", MADE_BY)
def test_rewritten_without_a_change_is_accepted(name: str, tmp_path: Path) -> None:
    changed(name, lambda arrays, spec: None, tmp_path / "p.safetensors")
    expected = MADE_BY[name].compress(TABLE, np.random.default_rng(0))
    np.testing.assert_array_equal(decode(load(tmp_path / "p.safetensors")), decode(expected))


def test_refuses_what_is_not_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(ValueError, match=r"p\.safetensors cannot be read as a payload: "):
        load(path)
    for content in (b"", b"\x93NUMPY", b"not a payload file at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"p\.safetensors cannot be read as a payload: "):
            load(path)


def test_refuses_a_file_without_payload_entry(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"table": TABLE.vectors}, path, metadata=metadata)
        with pytest.raises(ValueError, match=r"is a safetensors file without a payload entry: was it written by"):
            load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"Dense"', "{}"])
def test_refuses_an_entry_that_is_no_specification(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_file({"table": TABLE.vectors}, path, metadata={"payload": text})
    with pytest.raises(ValueError, match=r"p\.safetensors is not a payload: "):
        load(path)


def _set(key: str, value: Any) -> Change:
    return lambda arrays, spec: spec.update({key: value})


def _drop(key: str) -> Change:
    def change(arrays: Arrays, spec: Spec) -> None:
        (arrays if key in arrays else spec).pop(key)

    return change


def _nested(deep: int) -> Spec:
    """A specification in itself, `deep` times."""
    return {"kind": "Unaligned", "part": _nested(deep - 1) if deep else {"kind": "Dense"}}


def _array(key: str, new: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda arrays, spec: arrays.update({key: np.ascontiguousarray(new(arrays[key]))})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dense", _set("version", 2), r"it has payload format 2, this program reads 1: upgrade eigenselect"),
        ("dense", _drop("version"), r"it has payload format None, this program reads 1"),
        ("dense", _set("kind", "Dunno"), r"it is of kind 'Dunno', known are \['Coded', .*'Packed', .*upgrade"),
        ("dense", _set("kind", ["Dense"]), r"it is of kind \['Dense'\], known are"),
        ("dense", _drop("kind"), r"it is of kind None, known are"),
        ("projected", _set("part", {"kind": "Other"}), r"it is of kind 'Other', known are"),
        ("dense", _drop("table"), r"it lacks 'table': was it changed after it was saved\?"),
        ("packed", _drop("packed"), r"it lacks 'packed'"),
        ("packed", _drop("codebook"), r"it lacks 'codebook'"),
        ("packed", _drop("dim"), r"it lacks 'dim'"),
        ("sum", _drop("parts.1.packed"), r"it lacks 'parts\.1\.packed'"),
        ("coded", _drop("codebooks"), r"it lacks 'codebooks'"),
        ("projected", _drop("matrix"), r"it lacks 'matrix'"),
        ("projected", _drop("part.packed"), r"it lacks 'part\.packed'"),
        ("projected", _drop("part"), r"it lacks 'part'"),
        ("dense", lambda a, s: a.update(more=a["table"]), r"it holds \['more'\], which are not part of its payload"),
        ("sum", _drop("parts.1"), r"Sum\.parts have shapes \[\(60, 13\)\]: there must be two or more of one shape"),
        ("dense", _array("table", np.ravel), r"Dense\.table is float32 of shape \(780,\): it must be 2-D float32 or"),
        ("dense", _array("table", lambda a: a.astype(np.float64)), r"Dense\.table is float64 of shape \(60, 13\)"),
        ("packed", _array("packed", np.ravel), r"Packed\.packed is uint8 of shape \(420,\): it must be 2-D uint8"),
        ("packed", _array("packed", lambda a: a.astype(np.int32)), r"Packed\.packed is int32 of shape"),
        ("packed", _array("codebook", np.ravel), r"Packed\.codebook is float32 of shape \(16,\): it must be 2-D"),
        ("packed", _array("codebook", lambda a: a[:15]), r"Packed\.codebook has 15 codewords: it must have 2, 4, 16"),
        ("packed", _set("dim", 15), r"Packed\.dim = 15: it must be from 1 to the 14 columns that are stored"),
        ("packed", _set("dim", 0), r"Packed\.dim = 0: it must be from 1"),
        ("packed", _set("dim", "13"), r"Packed\.dim = '13': it must be from 1"),
        ("packed", _array("packed", lambda a: a[:, :6]), r"Packed\.dim = 13: it must be from 1 to the 12 columns"),
        ("sum", _array("parts.1.packed", lambda a: a[:59]), r"Sum\.parts have shapes \[\(60, 13\), \(59, 13\)\]"),
        ("coded", _array("codebooks", lambda a: a[0]), r"Coded\.codebooks is float32 of shape \(8, 1\): it must"),
        ("projected", _array("matrix", lambda a: a[:4]), r"Projected\.matrix has 4 rows for a part of 5 columns"),
        ("projected", _array("matrix", np.ravel), r"Projected\.matrix is float32 of shape \(65,\): it must be 2-D"),
        ("projected", _set("part", 3), r"Projected\.part is a int: it must be a payload"),
        ("packed", _array("packed", lambda a: a[:0]), r"it is 0 x 13, 13 values at a time: it must have 1 to"),
        (
            "dense",
            _array("table", lambda a: a * np.where(np.arange(60) == 7, np.inf, 1)[:, None].astype("f4")),
            "row 7 d",
        ),
        (
            "packed",
            _array("codebook", lambda a: a * np.float32(np.nan)),
            "row 0 decodes to numbers that are not finite",
        ),
        (
            "sum",
            _array("parts.0.codebook", lambda a: np.full_like(a, np.inf)),
            r"row \d+ decodes to numbers that are not finite",
        ),
        ("projected", _array("matrix", lambda a: a * np.float32(1e38)), r"row \d+ decodes to numbers that are not"),
        ("coded", _array("codebooks", lambda a: a[:, :5]), "a row from 0 on has a code without a codeword"),
        ("dense", _set("table.0", {}), r"it is of kind None"),
        ("packed", _set("packed.0", "x" * 9999), r"Packed\.packed is a tuple: it must be 2-D uint8$"),
        ("dense", lambda a, s: s.update(_nested(100)), "its parts are nested more than 64 deep"),
    ],
)
def test_refuses_a_changed_file(name: str, change: Change, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    changed(name, change, path)
    with pytest.raises(ValueError, match=rf"p\.safetensors is not a payload: {message}"):
        load(path)


def test_refuses_what_is_nested_without_end(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"version": 1, "kind": "Sum", "parts.0": ' + '{"part": ' * 100_000):
        save_file({"table": TABLE.vectors}, tmp_path / "p.safetensors", metadata={"payload": text})
        with pytest.raises(ValueError, match=r"p\.safetensors is not a payload: its parts are nested too deep$"):
            load(tmp_path / "p.safetensors")


def test_refuses_rows_that_no_memory_holds(tmp_path: Path) -> None:
    wide = Repeated(Dense(np.ones((9, 1), np.float32)), 10**12, 10**12)
    train = TensorTrain((np.ones((3, 1, 2000, 1), np.float32),) * 4, 81, 5)
    for payload in (wide, train):
        payload.save(tmp_path / "p.safetensors")
        with pytest.raises(ValueError, match=r"\d{12,} values at a time: it must have 1 to 16777216 columns$"):
            load(tmp_path / "p.safetensors")


def test_lut_by_hand() -> None:
    codebook = np.array([[1, 10], [2, 20], [3, 30], [4, 40]], np.float32)
    payload = Packed(np.array([[0b11_10_01_00], [0b00_00_00_11]], np.uint8), codebook, 7)
    np.testing.assert_array_equal(decode(payload), [[1, 10, 2, 20, 3, 30, 4], [4, 40, 1, 10, 1, 10, 1]])
    assert payload.nbytes == 2 + 4 * 8
    assert payload.lut().shape == (256, 8)


def test_decode_of_each_kind_by_hand() -> None:
    bits = Packed(np.array([[0b01], [0b10]], np.uint8), np.array([[0], [1]], np.float32), 2)  # [[1, 0], [0, 1]]
    twos = Packed(np.array([[0b01], [0b11]], np.uint8), np.array([[0], [2]], np.float32), 2)  # [[2, 0], [2, 2]]
    dense = Dense(np.array([[1, 2], [3, 4]], np.float16))
    np.testing.assert_array_equal(decode(dense), np.array([[1, 2], [3, 4]], np.float32), strict=True)
    np.testing.assert_array_equal(decode(Sum((bits, twos, dense))), [[4, 2], [5, 7]])
    np.testing.assert_array_equal(
        decode(Coded(Sum((bits, twos)), np.array([5, 6, 7, 8], np.float32)[None, :, None], summed=False, dim=2)),
        [[8, 5], [7, 8]],
    )
    np.testing.assert_array_equal(
        decode(Projected(dense, np.array([[1, 0, 1], [0, 1, -1]], np.float32))), [[1, 2, -1], [3, 4, -1]]
    )


# --- rows that are read -----------------------------------------------------------------------------------------------

READ = Stacked((Dense(gaussian(5, 3)), Uniform(3).compress(EmbeddingTable(gaussian(4, 3)), np.random.default_rng(0))))
N = READ.n
WHOLE = decode(READ)

bounds = st.none() | st.integers(-2 * N, 2 * N)


@given(bounds, bounds, st.none() | st.integers(-N, N).filter(bool), st.integers(1, N))
def test_any_slice_is_that_of_the_decoded_table(start: int, stop: int, step: int, at_once: int) -> None:
    rows = slice(start, stop, step)
    for payload in (READ, READ.parts[0]):  # ids are computed with, or are not
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base, "READ_BYTES", 4 * payload.width * at_once)
            np.testing.assert_array_equal(payload.read(rows), WHOLE[: payload.n][rows], strict=True)


ids = hnp.arrays(
    st.sampled_from([np.int8, np.int32, np.int64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements=st.integers(-N, N - 1),
)


@given(ids, st.integers(1, N))
def test_any_ids_are_those_of_the_decoded_table(rows: np.ndarray, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "READ_BYTES", 4 * READ.width * at_once)
        np.testing.assert_array_equal(READ.read(rows), WHOLE[rows], strict=True)


def test_ids_of_a_file_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = type(READ)._decoded
    monkeypatch.setattr(type(READ), "_decoded", lambda self, ids: asked.append(len(ids)) or real(self, ids))
    rows = np.random.default_rng(0).integers(-N, N, 20)
    READ.read(rows)
    monkeypatch.setattr(base, "is_large", lambda nbytes: True)
    monkeypatch.setattr(base, "SCATTERED", 8)
    np.testing.assert_array_equal(READ.read(rows), WHOLE[rows], strict=True)
    READ.read(slice(0, N))
    assert asked == [20, 8, 8, 4, N]


@pytest.mark.parametrize("id", [-N - 1, N])
def test_an_id_outside_of_the_table_is_an_error(id: int) -> None:
    with pytest.raises(IndexError):
        READ.read(np.array([0, id]))


@pytest.mark.parametrize("rows", [np.ones(N, bool), np.array([0.0])])
def test_rows_that_are_not_integers_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"^rows are {rows.dtype}: they must be integers or a slice$"):
        READ.read(rows)
