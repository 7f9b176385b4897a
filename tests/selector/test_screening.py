"""A first look at samples of rows: what it leaves out is worse than what is chosen, and that stays the same."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from eigenselect.compressors import (
    PCA,
    EmbeddingTable,
    ExactRows,
    Identity,
    KMeans,
    ResidualQuantization,
    Spectral,
    Uniform,
)
from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.selection import Candidate
from eigenselect.selector.run import screening
from eigenselect.selector.run.announcement import outlook
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.plan import plan
from eigenselect.selector.run.screening import rows_of_samples, screened, unproven
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.selecting import Chosen, choose
from eigenselect.selector.run.trial import untried
from tests.cases import CASES, TABLES
from tests.running import command, only
from tests.stores import make_store

N, D = 12_000, 8


class Whole(Uniform):
    """A method of which a sample shows nothing."""

    by_rows = False

    @property
    def name(self) -> str:
        return f"whole{self.bits}"


POOL = [
    *(Uniform(bits) for bits in (1, 2, 3, 4)),
    *(KMeans(bits) for bits in (1, 2, 4)),
    *(PCA(dim=k, keep_dimension=True, then=KMeans(4)) for k in (2, 4, 6)),
    Spectral(then=KMeans(2), norm="none"),
    Spectral(then=KMeans(4), norm="none"),
    ResidualQuantization(books=4, codewords=16),
    Whole(3),
    Identity("float16"),
]
FEW = [*(Uniform(bits) for bits in (1, 2, 3, 4)), KMeans(1), KMeans(4), Spectral(then=KMeans(4), norm="none")]


def table() -> EmbeddingTable:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((N, D)) * np.geomspace(2, 0.3, D) * np.exp(0.3 * rng.standard_normal((N, 1)))
    rows[7] = 0  # kept as an exact row of its own by methods that would lose it
    return EmbeddingTable(rows.astype(np.float32))


TABLE = table()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """As of a large table."""
    monkeypatch.setattr(screening, "FROM", N)
    monkeypatch.setattr(screening, "SAMPLES", (800, 3_000))


def search_of(budget: int, criterion: str = "eos", pool=POOL, **given) -> Search:
    compressors, left_out = candidates(TABLE, budget, pool)
    settings = {"table": TABLE, "budget": budget, "compressors": compressors, "left_out": left_out, "screening": True}
    return Search(**settings | {"criterion": criterion} | given)


def left_out(found: Chosen):
    return [c for c in found.candidates if c.status == "screened"]


@pytest.fixture(scope="module")
def exact() -> dict[str, dict[str, float]]:
    """The measures of every candidate on all rows."""
    found = choose(search_of(10**6, screening=False))
    return {c.name: c.measures for c in found.candidates}


@pytest.mark.parametrize(("rate", "criterion"), [(4, "eos"), (7, "weighted_eos_p2")])
def test_the_best_on_all_rows_is_chosen(rate, criterion, exact):
    search = search_of(4 * N * D // rate, criterion)
    found = choose(search)
    fitting = [compressor.name for compressor, nbytes in search.compressors if nbytes <= search.budget]
    assert found.selection.chosen.name == max(fitting, key=lambda name: exact[name][criterion])
    out = left_out(found)
    assert out and len(fitting) - len(out) >= screening.KEPT
    assert not any(c.measures for c in out) and not any("whole" in c.name for c in out)
    for c in found.candidates:
        assert c.status != "measured" or c.measures == exact[c.name], c.name
    for c in out:
        reported = c.estimate
        assert (
            reported.criterion == criterion and reported.rows in (800, 3_000) and reported.gap > reported.least_gap > 0
        )
        assert abs(reported.value - exact[c.name][criterion]) <= reported.half_width, c.name
        assert exact[reported.better][criterion] - exact[c.name][criterion] >= reported.least_gap, (
            c.name,
            reported.better,
        )
    for key in ("eos", "weighted_eos_p1", "weighted_eos_p2"):  # of no overlap score is the best left out
        assert max(fitting, key=lambda name: exact[name][key]) not in {c.name for c in out}


def test_it_is_left_to_tables_and_criteria_of_which_it_is_known_how_far_a_sample_goes():
    search = search_of(50_000)
    assert rows_of_samples(search) == [800, 3_000]
    lookups = Lookups(None, N, D)  # type: ignore[arg-type]
    for other in (
        {"screening": False},
        {"lookups": lookups, "limit": Limit.parse("2x")},
        {"criterion": "neighbour_overlap"},
        {"criterion": "ridge_alignment"},
        {"criterion": "eos_by_frequency"},
        {"table": EmbeddingTable(TABLE.vectors[: N - 1])},
    ):
        assert rows_of_samples(dataclasses.replace(search, **other)) == [], other
    wide = dataclasses.replace(search, table=EmbeddingTable(np.ones((N, 20), np.float32)))
    assert rows_of_samples(wide) == [1_600], "no fewer than so many a column, and no more than a part of the table"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_several_processes_leave_out_what_one_does(engine):
    if engine == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    pool = [each for each in POOL if not isinstance(each, Whole)]  # a class of these tests is in no other process
    one, two = (choose(search_of(60_000, pool=pool, engine=engine, workers=count)) for count in (1, 2))
    assert two.candidates == one.candidates and left_out(one)


def test_what_was_measured_before_is_not_looked_at_and_leaves_others_out(monkeypatch):
    search = search_of(100_000, pool=FEW)
    trials = [untried(*each) for each in search.compressors]
    exact = choose(dataclasses.replace(search, screening=False)).candidates
    known = {c.name: c for c in exact if c.name in ("exact7-uniform-b1", "exact7-uniform-b4")}
    assert len(known) == 2
    monkeypatch.setattr(screening, "KEPT", 1)
    made = []
    original = Uniform._compress
    monkeypatch.setattr(Uniform, "_compress", lambda self, *given: (made.append(self.bits), original(self, *given))[1])
    found = {trial.candidate.name: trial.candidate for trial in screened(search, trials, known)}
    assert {*made} == {2, 3}, "those that are known are not made of a sample"
    assert not any(found[name].estimate for name in known)
    best = max(exact, key=lambda c: c.measures.get("eos", 0)).name
    assert found[best].estimate is None

    only_known = {best: next(c for c in exact if c.name == best)}
    found = {trial.candidate.name: trial.candidate for trial in screened(search, trials, only_known)}
    assert {c.estimate.better for c in found.values() if c.estimate} == {best}


def test_what_failed_on_all_rows_leaves_nothing_out(monkeypatch):
    search = search_of(4 * N * D // 4, pool=FEW, allowed_failures=0.9)
    best = choose(search).compressor
    original = type(best)._compress

    def failing(self, given, rng):
        if given.n == N and self == best:
            raise RuntimeError("not of all rows")
        return original(self, given, rng)

    monkeypatch.setattr(type(best), "_compress", failing)
    found = choose(search)
    names = {c.name: c for c in found.candidates}
    assert names[best.name].status == "failed"
    assert not any(c.estimate.better == best.name for c in left_out(found))
    second = max((c for c in found.candidates if c.measures), key=lambda c: c.measures["eos"])
    assert found.selection.chosen is second and unproven(found.candidates, "eos") == []


def test_the_interval_is_that_of_the_difference_on_the_same_rows():
    rng = np.random.default_rng(2)
    common, own = rng.standard_normal(64), 0.1 * rng.standard_normal((2, 64))

    def candidate(name: str, score: float, replicates: np.ndarray) -> Candidate:
        return Candidate(name, "Uniform", {}, 1, "measured", {"eos": score}, replicates={"eos": tuple(replicates)})

    level = 1 - 0.001 / (2 * 40)
    difference, alone = own[0] - own[1], common + own[1]
    needed = stats.t.ppf(level, 63) * difference.std(ddof=1) / 8 + 0.01
    for gap, out in ((needed + 1e-6, True), (needed - 1e-6, False)):
        seen = {"a": candidate("a", 0.9, common + own[0]), "b": candidate("b", 0.9 - gap, alone)}
        flattery = {"a": 0.01, "b": 0.002}
        look = screening._Look(500, ["eos"], seen, {}, flattery, 1 - 0.001 / 40)
        reported = screening._beaten(look, "eos")
        assert [*reported] == ["b"] * out
        if out:
            half = stats.t.ppf(level, 63) * alone.std(ddof=1) / 8 + 0.002
            assert reported["b"].half_width == pytest.approx(half) and reported["b"].least_gap == pytest.approx(
                gap - needed
            )
            assert (reported["b"].better, reported["b"].rows, reported["b"].gap) == ("a", 500, pytest.approx(gap))
            says = f"eos {0.9 - gap:.4f} ± {half:.4f} on 500 rows, where a is better by {gap:.4f}; on all by "
            assert str(reported["b"]) == f"{says}0.0000 or more (99.9%)"
    flattered = screening._Look(500, ["eos"], seen, {}, {"a": 0.5, "b": 0.0}, 0.9)
    assert flattered.best("eos", 1) == ["b"] and screening._beaten(flattered, "eos") == {}


def test_what_is_the_best_by_another_overlap_score_stays_and_so_do_the_first_few(monkeypatch):
    keys, steady = ["eos", "weighted_eos_p1"], tuple(np.linspace(-1e-4, 1e-4, 64))
    scores = {"a": (0.9, 0.7), "b": (0.5, 0.8), "c": (0.4, 0.6), "d": (0.6, 0.6)}
    seen = {
        name: Candidate(name, "Uniform", {}, 1, "measured", dict(zip(keys, pair, strict=True)))
        for name, pair in scores.items()
    }
    seen = {name: dataclasses.replace(c, replicates=dict.fromkeys(keys, steady)) for name, c in seen.items()}
    look = screening._Look(500, keys, seen, {}, dict.fromkeys(seen, 0.01), 0.99)
    for kept, out in ((1, {"c", "d"}), (2, {"c"}), (4, set())):
        monkeypatch.setattr(screening, "KEPT", kept)
        found = screening._left_out(look, "eos")
        assert found.keys() == out and {reported.criterion for reported in found.values()} <= {"eos"}, kept


def test_rows_that_are_kept_exact_are_those_of_the_sample():
    ids = np.array([2, 5, 9])
    assert screening._of_sample(ExactRows((1, 5, 9, 11), KMeans(2)), ids) == ExactRows((1, 2), KMeans(2))
    assert screening._of_sample(ExactRows((1,), KMeans(2)), ids) == KMeans(2) == screening._of_sample(KMeans(2), ids)


def test_what_learns_more_may_look_better():
    few, many = (screening._flattery(method, 1_000, D) for method in (KMeans(4), ResidualQuantization(4, 256)))
    assert many > 10 * few > 0 and many == pytest.approx((2 * (4 * 256 * D + 256) / D + 0.5 * D) / 1_000)
    assert screening._flattery(ExactRows((3, 7), KMeans(4)), 1_000, D) == few


def test_the_bytes_of_what_a_sample_shows_are_the_same_for_each_row():
    """No setting of such a method depends on how many rows there are."""
    shown = [case.compressor for case in CASES if case.compressor.seen_in_sample]
    assert len(CASES) // 2 < len(shown) < len(CASES) and not any("light" in each.name for each in shown)
    d, step = TABLES["gaussian"].d, 12_800
    for each in shown:
        one, two, seven = (each.nbytes(count * step, d) for count in (1, 2, 7))
        assert seven - one == 6 * (two - one), each.name


def test_a_plan_says_what_is_looked_at_first():
    search = search_of(50_000, pool=[Uniform(1), Uniform(2), Whole(2), Uniform(4)])
    console = Console(file=io.StringIO(), width=80)
    outlook(found := plan(search), console)
    assert found.screened == ["exact7-uniform-b1", "exact7-uniform-b2", "exact7-uniform-b4"]
    assert found.screened_rows == [800, 3_000]
    assert "3 of them are looked at on 800 and 3,000 rows first." in " ".join(console.file.getvalue().split())
    found = plan(dataclasses.replace(search, screening=False))
    assert found.screened == [] == found.screened_rows


def test_the_command_and_its_hand_over_say_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", make_store(tmp_path / "m.db"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(screening, "KEPT", 2)
    np.save("t.npy", TABLE.vectors)
    assert command("table.path=t.npy", "budget=8x", "out=o", *only("uniform", "kmeans")) == 0
    printed = capsys.readouterr().out
    record = json.loads(Path("o/selection.json").read_text())
    reported, entries = record["screening"], {each["name"]: each for each in record["rejected"] if "estimate" in each}
    rows, count = " and ".join(f"{each:,}" for each in reported["rows"]), len(entries) + screening.KEPT
    line = f"Screened {len(entries)} of {count} candidates on {rows} rows: {screening.KEPT} measured on all."
    assert line in printed.splitlines() and len(line) <= 80
    assert reported["candidates"] == len(entries) and reported["confidence"] == 0.999
    assert f"Of {len(entries)} more, samples of rows show" in record["reason"]
    assert "(of those measured on all rows)" in record["reason"]
    with Path("o/candidates.csv").open(newline="") as file:
        listed = {row["name"]: row for row in csv.DictReader(file) if row["status"] == "screened"}
    assert listed.keys() == entries.keys()
    for name, row in listed.items():
        assert (row["eos"], row["run_id"]) == ("", "") and row["reason"] == entries[name]["reason"]
        assert row["reason"].startswith(f"eos {entries[name]['estimate']['value']:.4f} ± ")
    client = mlflow.MlflowClient()
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert len(runs) == 1 + screening.KEPT and not {run.info.run_name for run in runs} & {*listed}
