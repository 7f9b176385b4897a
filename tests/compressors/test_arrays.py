"""Arrays as long as a table: files where they are large, with the same bytes; and their memory, which is given back."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from eigenselect.compressors import load
from eigenselect.compressors.data import arrays
from eigenselect.compressors.data.arrays import give_back, rows_array
from eigenselect.compressors.data.table import EmbeddingTable
from tests.cases import CASES, compress, gaussian

pytestmark = pytest.mark.quick

KINDS = {type(case.compressor): case for case in CASES if case.compressor.effort <= 3}
"""A case of each method that takes no training."""


def resident() -> int:
    """Bytes of mapped files that this process holds."""
    pages = Path("/proc/self/statm").read_text().split()
    return int(pages[2]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def _files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arrays, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("_files")
def test_a_large_array_is_a_file_without_a_name(tmp_path):
    made = rows_array((1000, 4), np.float32)
    made[:] = np.arange(4000).reshape(1000, 4)
    assert isinstance(made, np.memmap) and [*tmp_path.iterdir()] == []
    give_back(made, made[:, 1], np.asarray(made))
    np.testing.assert_array_equal(made, np.arange(4000).reshape(1000, 4))


def test_a_small_array_is_in_memory():
    assert type(rows_array((1000, 4), np.float32)) is np.ndarray


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc to read the memory from")
def test_what_is_given_back_is_no_longer_held(monkeypatch):
    monkeypatch.setattr(arrays, "IN_MEMORY", 0)
    made = rows_array((1 << 24,), np.uint8)
    before = resident()
    made[:] = 7
    assert resident() - before > 1 << 23
    give_back(made)
    assert resident() - before < 1 << 22
    assert made[-1] == 7


def test_changes_that_are_in_memory_alone_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(10))
    changed = np.load(tmp_path / "a.npy", mmap_mode="c")
    changed[3] = 5
    give_back(changed, changed[2:])
    assert changed[3] == 5


@pytest.mark.usefixtures("_files")
def test_a_full_disk_is_named_before_anything_is_written(monkeypatch, tmp_path):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no room for 4,000 bytes of codes; make room, or set TMPDIR") as caught:
        rows_array((1000,), np.float32)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("case", KINDS.values(), ids=lambda case: type(case.compressor).__name__)
def test_every_method_makes_the_same_in_files(case, monkeypatch, tmp_path):
    table = EmbeddingTable(gaussian(300, 16))
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "IN_MEMORY", 1 << 26)
        expected = compress(case, table).arrays()
    payload = compress(case, table)
    found = payload.arrays()
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)
    payload.save(tmp_path / "payload.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "payload.safetensors").read(slice(None)), payload.read(slice(None)))
