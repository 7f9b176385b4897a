"""One table in several files: the same table as in one file, whatever they hold; and what is not one table."""

from __future__ import annotations

import itertools
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from eigenselect.compressors.data import arrays
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.sources import read_table
from tests.selector import writers
from tests.selector.test_sources import write_safetensors

pytestmark = pytest.mark.quick

TABLE = np.random.default_rng(0).normal(size=(37, 5)).astype(np.float32)
TOKENS = [f"token {i}".encode() for i in range(37)]
CUTS = (0, 9, 10, 22, 37)
ROWS = (slice(0, 37), slice(8, 23), slice(9, 10), slice(36, 37), slice(5, 5), np.array([36, 0, 9, 9, 21]))


def write(path: Path, rows: slice, dtype: str) -> None:
    """Some rows in a file: as floats of a type, or as float8 with a scale a row."""
    part = TABLE[rows]
    if dtype == "float32":
        np.save(path, part)
    elif dtype == "parquet":
        writers.parquet_file(path, part, TOKENS[rows])
    elif dtype == "bfloat16":
        numbers = part.astype(ml_dtypes.bfloat16)
        write_safetensors(path, {"part.weight": ("BF16", [*part.shape], numbers.tobytes())})
    else:
        scales = np.abs(part).max(axis=1, keepdims=True) / 448
        numbers = (part / scales).astype(ml_dtypes.float8_e4m3fn)
        tensors = {"embed.weight": ("F8_E4M3", [*part.shape], numbers.tobytes())}
        write_safetensors(path, tensors | {"embed.weight_scale_inv": ("F32", [*scales.shape], scales.tobytes())})


SUFFIX = {"float32": "npy", "parquet": "parquet", "bfloat16": "safetensors", "float8": "safetensors"}


@pytest.mark.parametrize("dtype", [*SUFFIX])
@pytest.mark.parametrize("large", [False, True])
def test_files_are_read_as_one(dtype, large, tmp_path, monkeypatch):
    if large:
        monkeypatch.setattr(arrays, "IN_MEMORY", 0)
    (folder := tmp_path / "parts").mkdir()
    for i, (start, stop) in enumerate(itertools.pairwise(CUTS)):
        write(folder / f"part-{i + 8}.{SUFFIX[dtype]}", slice(start, stop), dtype)  # 8, 9, 10, 11
    write(whole := tmp_path / f"whole.{SUFFIX[dtype]}", slice(0, 37), dtype)
    expected = read_table(whole)
    for path in (folder / f"*.{SUFFIX[dtype]}", *([folder] if SUFFIX[dtype] != "safetensors" else [])):
        table = read_table(path)
        for rows in ROWS:
            np.testing.assert_array_equal(table.read(rows), expected.read(rows), strict=True)
        assert (table.stored, table.stored_nbytes) == (expected.stored, expected.stored_nbytes)
        assert table_digest(table) == table_digest(expected) and table.tokens == expected.tokens
    np.testing.assert_array_equal(read_table(folder / f"*.{SUFFIX[dtype]}", rows=12).vectors, expected.read(slice(12)))


def test_a_pattern_is_relative_and_may_name_folders(tmp_path, monkeypatch):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.full((9, 2), ord(name), np.float32))
    monkeypatch.chdir(tmp_path)
    assert np.asarray(read_table("*/x.npy"))[[0, -1], 0].tolist() == [ord("a"), ord("b")]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (np.zeros((4, 6), np.float32), "b.npy has 6 columns of float32 and no tokens, and a.npy 5 columns of float32"),
        (np.zeros((4, 5), np.float16), "b.npy has 5 columns of float16 and no tokens, and a.npy 5 columns of float32"),
        (np.zeros(5, np.float32), "b.npy has no columns of float32 and no tokens, and a.npy 5 columns"),
    ],
)
def test_parts_are_alike(second, says, tmp_path):
    np.save(tmp_path / "a.npy", TABLE)
    np.save(tmp_path / "b.npy", second)
    with pytest.raises(ValueError, match=says):
        read_table(tmp_path)


def test_what_is_no_set_of_files_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"\*.npy: no file fits this pattern: correct it, and put it in quotes"):
        read_table(tmp_path / "*.npy")
    np.save(tmp_path / "a.npy", TABLE)
    with pytest.raises(ValueError, match="sha256 is given for 1 files: drop it, or give one file"):
        read_table(tmp_path / "*.npy", sha256="0" * 64)
    (tmp_path / "read me.txt").write_text("a table")
    with pytest.raises(ValueError, match="no weights in this folder"):
        read_table(tmp_path)
