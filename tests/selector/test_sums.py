"""Sums over a table that are kept for later runs: the same to the bit, and made again where they cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, KMeans, Spectral, load
from eigenselect.selector.pool import sums
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.pool.sums import remembered
from tests.cases import gaussian
from tests.running import command, only


@pytest.fixture(autouse=True)
def _kept_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sums, "LEAST", 0)


def files() -> list[Path]:
    where = sums.folder()
    return sorted(where.iterdir()) if where is not None and where.exists() else []


def known_after(rows: np.ndarray, digest: str = "") -> EmbeddingTable:
    """A table of which a run has asked for all sums."""
    table = EmbeddingTable(rows)
    with remembered(table, digest or table_digest(table)):
        Spectral(then=KMeans(2)).compress(table, np.random.default_rng(0))
        _ = table.histogram
    return table


def test_a_later_run_has_the_same_sums_without_reading_the_table(monkeypatch):
    first = known_after(gaussian(300, 13))
    again = EmbeddingTable(gaussian(300, 13))
    with remembered(again, table_digest(again)), monkeypatch.context() as patch:
        patch.setattr(EmbeddingTable, "read", lambda *given: pytest.fail("it reads the table"))
        assert again.abs_max == first.abs_max
        np.testing.assert_array_equal(again.gram, first.gram, strict=True)
        for mine, its in zip(again.histogram.occupied(), first.histogram.occupied(), strict=True):
            np.testing.assert_array_equal(mine, its, strict=True)
    assert len(files()) == 1


@pytest.mark.slow
def test_a_selection_that_finds_them_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    np.save(tmp_path / "table.npy", gaussian(400, 16))
    given = [*only("uniform"), f"table.path={tmp_path}/table.npy", "budget=12.5%", "tracking.resume=false"]
    assert command(*given, f"out={tmp_path}/first") == 0
    asked = []
    monkeypatch.setattr("eigenselect.compressors.data.table.Histogram.counted", lambda *given: asked.append(given))
    assert command(*given, f"out={tmp_path}/second") == 0
    assert not asked and len(files()) == 1
    mine, its = (load(tmp_path / name / "payload.safetensors").arrays() for name in ("first", "second"))
    assert {name: array.tobytes() for name, array in mine.items()} == {name: a.tobytes() for name, a in its.items()}


@pytest.mark.parametrize("kept", [0, 100, 4_000, -1], ids=["empty", "head", "part", "one byte"])
def test_a_damaged_file_is_made_again(kept):
    expected = known_after(gaussian(300, 13))
    (path,) = files()
    whole = bytearray(path.read_bytes())
    if kept < 0:
        whole[len(whole) // 2] ^= 1
    path.write_bytes(whole[:kept] if kept >= 0 else whole)
    found = known_after(gaussian(300, 13))
    np.testing.assert_array_equal(found.gram, expected.gram, strict=True)
    np.testing.assert_array_equal(found.histogram.occupied(), expected.histogram.occupied(), strict=True)
    (path,) = files()
    with np.load(path) as file:
        assert {*file.files} == {"abs_max", "gram", "counts", "totals"}


def test_they_are_those_of_one_table_and_one_arithmetic(monkeypatch):
    known_after(gaussian(300, 13))
    known_after(gaussian(300, 13) * 2)
    assert len(files()) == 2
    monkeypatch.setattr(sums, "code_digest", lambda: "changed")
    known_after(gaussian(300, 13))
    assert len(files()) == 3
    with remembered(table := EmbeddingTable(gaussian(300, 13)), "of a device", "cuda"):
        _ = table.gram
    assert len(files()) == 4


def test_those_used_longest_ago_go(monkeypatch):
    for number in range(3):
        known_after(gaussian(300, 13) * (number + 1), str(number))
        os.utime(max(files(), key=lambda path: path.stat().st_mtime), (number, number))
    known_after(gaussian(300, 13), "0")  # used again
    monkeypatch.setattr(sums, "MOST", 3 * files()[0].stat().st_size)
    known_after(gaussian(300, 13) * 4, "3")
    left = {files()[0].with_name(f"{sums._key(digest, None)}.npz") for digest in ("0", "2", "3")}
    assert {*files()} == left


def test_where_nothing_can_be_written_they_are_not_kept(tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert known_after(gaussian(300, 13)).abs_max > 0
    assert (tmp_path / "cache").read_text() == "a file"


def test_a_user_without_a_home_keeps_none(monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert known_after(gaussian(300, 13)).abs_max > 0


def test_small_tables_leave_nothing(monkeypatch):
    monkeypatch.setattr(sums, "LEAST", 4 * 300 * 13 + 1)
    known_after(gaussian(300, 13))
    assert not files()


def test_work_that_fails_leaves_nothing():
    table = EmbeddingTable(gaussian(300, 13))
    with pytest.raises(ZeroDivisionError), remembered(table, "failed"):
        _ = table.gram / (1 // 0)
    assert not files()
