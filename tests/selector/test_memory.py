"""Memory: what cannot be held is not begun, and what runs out of it has failed."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors import Identity, KMeans, Uniform
from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.selector.pool import memory
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.selecting import choose

pytestmark = pytest.mark.quick

TABLE = EmbeddingTable(np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32))

BLOCKS = memory.BLOCKS * 8 * 8 * 1000


def test_what_cannot_be_held_is_left_out_by_name(monkeypatch):
    pool = [Uniform(2), Identity("float32")]
    sizes = [each.nbytes(1000, 8) for each in pool]
    monkeypatch.setattr(memory, "available", lambda: BLOCKS + sizes[0])
    kept, left_out = candidates(TABLE, 10**6, pool)
    assert [each.name for each, _ in kept] == ["uniform-b2"]
    assert left_out == [f"{pool[1].name}: it takes 0 MB of memory, 0 MB are free"]
    kept, left_out = candidates(TABLE, sizes[1] - 1, pool)
    assert len(kept) == 2 and not left_out, "what is over the budget is never made"
    monkeypatch.setattr(memory, "available", lambda: BLOCKS)
    with pytest.raises(ValueError, match="0 MB of memory are free, and every candidate takes more"):
        candidates(TABLE, 10**6, pool)


def test_what_is_available_is_the_least_that_the_system_says(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    without = memory.available()
    assert 1 << 20 < without < 1 << 60
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert abs(memory.available() - without) < 1 << 30
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.available() == 4000


def test_a_candidate_that_runs_out_of_memory_has_failed(monkeypatch, capsys):
    def exhausted(self, table, rng):
        raise MemoryError("Unable to allocate 2.00 TiB")

    monkeypatch.setattr(KMeans, "_compress", exhausted)
    compressors, left_out = candidates(TABLE, 10**6, [Uniform(2), KMeans(2)])
    search = Search(table=TABLE, budget=10**6, compressors=compressors, left_out=left_out, allowed_failures=1)
    assert choose(search).selection.chosen.name == "uniform-b2"
    assert capsys.readouterr().err == "kmeans-b2 failed: MemoryError: Unable to allocate 2.00 TiB\n"
