"""What a selection would cost, reported before it is made: the same candidates and bytes, and nothing done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eigenselect.compressors import Compressor, EmbeddingTable, KMeans, Uniform
from eigenselect.selector.decision.selection import NothingFitsError
from eigenselect.selector.pool.memory import needed
from eigenselect.selector.run.plan import on_line, plan
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.sweep import try_all
from tests.running import command, only

N, D = 4_000, 8


@pytest.fixture
def table() -> EmbeddingTable:
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((N, D)) * np.geomspace(2, 0.2, D)).astype(np.float32)
    vectors[5] = 0  # kept as an exact row of its own by methods that would lose it
    return EmbeddingTable(vectors)


def search_of(table: EmbeddingTable, pool: list[Compressor], budget: int) -> Search:
    found, left_out = candidates(table, budget, pool)
    return Search(table=table, budget=budget, compressors=found, left_out=left_out)


def test_it_says_what_a_selection_computes(table, monkeypatch):
    search = search_of(table, [Uniform(1), Uniform(4), KMeans(2), Uniform(8)], 17_000)
    largest, compress = [0], Compressor.compress

    def spy(self, table, rng):
        largest.append(table.n)
        return compress(self, table, rng)

    with monkeypatch.context() as patch:
        patch.setattr(Compressor, "compress", spy)
        found = plan(search)
    assert max(largest) <= N // 4 and max(found.sample_rows) <= N // 4, "none of them on the whole table"

    done = [trial.candidate for trial in try_all(search)]
    measured = {c.name: c.nbytes for c in done if c.status == "measured"}
    assert {each.name: each.nbytes for each in found.candidates} == measured
    assert found.over_budget == [c.name for c in done if c.status == "over_budget"] and found.over_budget
    assert [each.nbytes for each in found.candidates] == sorted(measured.values(), reverse=True)
    assert found.memory_bytes == needed(max(measured.values()), N, D)
    assert all(each.seconds is not None and each.seconds > 0 for each in found.candidates)
    assert found.seconds >= sum(each.seconds or 0 for each in found.candidates)


def test_what_cannot_be_made_of_a_sample_has_no_time(table):
    class Whole(Uniform):
        def _compress(self, given, rng):
            if given.n < N:
                raise RuntimeError("needs every row")
            return super()._compress(given, rng)

    found = plan(search_of(table, [Whole(4), KMeans(4)], 10**6))
    seconds = {each.name: each.seconds for each in found.candidates}
    assert [name for name, each in seconds.items() if each is None] == ["exact5-uniform-b4"], seconds


def test_nothing_that_fits_is_answered_as_the_selection_would(table):
    with pytest.raises(NothingFitsError, match="the smallest candidate, exact5-uniform-b4, needs"):
        plan(search_of(table, [Uniform(4)], 100))


def test_a_line_never_falls():
    assert on_line(100, 1.0, 400, 1.3, 1_000) == pytest.approx(1.9)
    assert on_line(100, 9.0, 400, 1.3, 1_000) == 1.3
    assert on_line(100, 0.0, 400, 2.0, 1_000) == pytest.approx(5.0), "through the origin, and no steeper"


def test_the_command_prints_it_and_writes_nothing_else(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///none.db")
    monkeypatch.setenv("COLUMNS", "80")
    np.save("t.npy", table.vectors)
    words = ["plan", "table.path=t.npy", "budget=8x", "out=o", *only("uniform", "identity")]
    assert command(*words, "json=p.json") == 0
    printed, errors = capsys.readouterr()
    assert errors == "" and {path.name for path in tmp_path.iterdir()} == {"t.npy", "p.json"}
    written = json.loads(Path("p.json").read_text())
    assert written["table"] == "t.npy" and written["budget_bytes"] == N * 4 + 16384
    names = [each["name"] for each in written["candidates"]]
    assert names and all(f"\n{name} " in printed for name in names) and "an estimate for this machine" in printed

    assert command(*words, "json=-") == 0
    printed, errors = capsys.readouterr()
    assert [each["name"] for each in json.loads(printed)["candidates"]] == names and "estimate" in errors
    assert command("plan", "table.path=t.npy", "budget=10", *only("uniform")) == 3
    assert command(*words, "json=nowhere/p.json") == 2
    assert "json = nowhere/p.json cannot be written" in capsys.readouterr().err
