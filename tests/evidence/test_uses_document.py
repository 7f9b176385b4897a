"""What benchmarks/evidence_uses.py makes of results: measures chosen on some tables and tasks, reported on others."""

from __future__ import annotations

import importlib
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eigenselect.selector.decision.uses import USES

ROOT = Path(__file__).parents[2]
FROZEN = USES["frozen"].criterion
MEASURES = ("eos", FROZEN, "reconstruction_error", "reconstruction_error_relative")
COUNT = 9


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr("eigenselect.selector.evidence.analysis.statistics.RESAMPLES", 50)
    return importlib.import_module("evidence_uses")


def made(seed: int, tasks: tuple[str, ...]) -> dict:
    """Results of a run: scores follow the reconstruction error, which is another unit of its relative."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(COUNT):
        measures = {key: float(rng.random()) for key in MEASURES}
        measures["reconstruction_error_relative"] = measures["reconstruction_error"] / 7
        scores = {task: 0.3 * float(rng.random()) - measures["reconstruction_error"] for task in tasks}
        rows.append(
            {"candidate": f"c{i}", "nbytes": 1000 + 400 * (i % 3), "seed": 0, "measures": measures, "scores": scores}
        )
    return {"table": {"n": 1000, "d": 8}, "seeds": [0], "results": rows}


@pytest.fixture
def runs() -> dict:
    sts = ("sts_STS-B.train", "sts_X", "search_squad", "search_Y", "linear_Z")
    return {"glove100": made(0, sts), "wordllama": made(1, sts), "glove50": made(2, sts)}


def brute_error(run: dict, key: str, task: str) -> float:
    sign = -1 if key.startswith("reconstruction") else 1
    pairs = list(combinations(run["results"], 2))
    wrong = [
        sign * (a["measures"][key] - b["measures"][key]) * (a["scores"][task] - b["scores"][task]) < 0 for a, b in pairs
    ]
    return float(np.mean(wrong))


def test_what_is_reported_was_not_looked_at(writer: ModuleType, runs: dict) -> None:
    frozen = writer.USES["frozen"]
    assert frozen.chosen_on(runs) == [("glove100", "sts_STS-B.train")]
    assert frozen.reported_on(runs) == [("wordllama", "sts_X"), ("glove50", "sts_X")]
    assert writer.USES["retrieval"].reported_on(runs) == [("wordllama", "search_Y"), ("glove50", "search_Y")]


def test_the_measure_of_least_error_is_chosen(writer: ModuleType, runs: dict) -> None:
    assert "reconstruction_error_relative" not in writer.measured(runs), "it agrees with the other always"
    errors = {key: brute_error(runs["glove100"], key, "sts_STS-B.train") for key in writer.measured(runs)}
    assert writer.choice(runs, "frozen") == min(errors, key=errors.__getitem__) == "reconstruction_error"
    assert writer.choice(runs, "trained") == "eos"
    places = writer.USES["frozen"].reported_on(runs)
    found = writer.mean_error(runs, "eos", places)
    assert found == pytest.approx(np.mean([brute_error(runs[name], "eos", task) for name, task in places]))


def test_the_loss_is_of_the_choice_at_each_budget(writer: ModuleType, runs: dict) -> None:
    run = runs["glove50"]
    lost = []
    for share in writer.SIZES:
        fit = [row for row in run["results"] if row["nbytes"] <= share * 4 * 1000 * 8]
        picked = max(fit, key=lambda row: row["measures"]["eos"])
        lost.append(max(row["scores"]["sts_X"] for row in fit) - picked["scores"]["sts_X"])
    found = writer.loss(run, "eos", "sts_X")
    assert found[0] == pytest.approx(np.mean(lost), rel=1e-6) and len(found) == 51 and found.min() >= 0


def test_p_values_are_corrected_for_their_count(writer: ModuleType) -> None:
    spread = np.array([1.0, -1.0])
    differences = [np.concatenate([[value], spread]) for value in (-3.0, 0.5, -2.0)]
    raw = {3.0: 0.0026998, 2.0: 0.0455003, 0.5: 0.6170751}
    assert writer.corrected(differences) == pytest.approx([3 * raw[3.0], raw[0.5], 2 * raw[2.0]], rel=1e-4)


def test_the_sections(writer: ModuleType, runs: dict) -> None:
    assert writer.practice({}, {}) == writer.measures({}, {}) == writer.comparisons({}) == ""
    first = writer.practice({}, runs)
    assert (
        f"| `use=frozen` | `{FROZEN}` | every method: 2 tasks on 2 tables |" in first
        and "| `use=trained` | `eos` |" in first
    )
    key, run = "reconstruction_error", runs["wordllama"]
    own, eos = (brute_error(run, each, "sts_X") for each in (key, "eos"))
    text = writer.comparisons(runs)
    chosen, whole = f"`use=frozen`: `{key}`, chosen as said", f"`use=frozen`: `{FROZEN}`, what the use sets"
    assert text.index(chosen) < text.index(whole)
    line, _ = [line for line in text.splitlines() if line.startswith("| WordLlama 256-d | sts_X |")]
    assert line.split("|")[3:5] == [f" {writer.number(each, digits)} " for each, digits in ((own, 3), (eos, 3))]
    rows = writer.measures(runs, {}).strip().splitlines()[4:]
    assert len(rows) == 4 and rows[0].startswith("| reconstruction_error | **")


def test_the_choice_is_held_against_the_best_that_fits(writer: ModuleType, runs: dict) -> None:
    run = {**runs["glove50"], "budget_bytes": 2_000}
    lines = writer.choices({"glove50": run}).splitlines()[2:]
    assert [line.split("|")[4].strip() for line in lines] == ["STS benchmark", "mean of 1 others"]
    scores = {row["candidate"]: row["scores"]["sts_STS-B.train"] for row in run["results"]}
    choice = max(run["results"], key=lambda row: row["measures"][FROZEN])["candidate"]
    other = max(run["results"], key=lambda row: row["measures"]["eos"])["candidate"]
    best = max(scores.values())
    cells = [cell.strip() for cell in lines[0].split("|")[5:-1]]
    figures = (scores[choice], best, best - scores[choice], best - scores[other])
    assert cells == [choice, *(writer.number(each, 4) for each in figures)]


def test_the_best_of_a_plain_table_are_shown_beside_float16(writer: ModuleType, runs: dict) -> None:
    run = runs["glove50"]
    run["results"][4]["candidate"] = "float16"
    means = {row["candidate"]: float(np.mean([*row["scores"].values()])) for row in run["results"]}
    best = sorted(means, key=means.__getitem__, reverse=True)[: writer.SHOWN]
    rows = writer.plain({"glove50": run}).splitlines()[2:]
    expected = [[each, writer.number(means[each], 3)] for each in [*best, "float16"]]
    assert [[row.split(" | ")[0][2:], row.split(" | ")[2][:-2]] for row in rows] == expected
