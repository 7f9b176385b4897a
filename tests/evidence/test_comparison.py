"""The comparison of measures over tasks, against the statistics of each."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.selector.evidence.analysis.comparison import compare
from eigenselect.selector.evidence.analysis.statistics import STATISTICS, interval, samples

TASKS = ("one", "two")


def results(m: int = 10, seeds: int = 2) -> list[dict]:
    """EOS that is noise; an error that orders both tasks rightly; a cosine that the last candidates lack."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(m):
        for seed in range(seeds):
            measures = {"eos": float(rng.random()), "pip_loss": float(m - i + 0.01 * rng.random())}
            if i < m - 3:
                measures["mean_cosine"] = float(rng.random())
            scores = {"one": i / m, "two": i / m + 0.001 * rng.random()}
            rows.append(
                {"candidate": f"c{i}", "nbytes": 100 + i % 2, "seed": seed, "measures": measures, "scores": scores}
            )
    return rows


def by_candidate(rows: list[dict], value) -> dict[str, list[float]]:
    return {
        name: [value(row) for row in rows if row["candidate"] == name]
        for name in dict.fromkeys(row["candidate"] for row in rows)
    }


def test_each_task_has_the_statistics_of_its_points() -> None:
    rows = results()
    tasks, _ = compare(rows, ["eos", "pip_loss"], TASKS)
    nbytes = {row["candidate"]: row["nbytes"] for row in rows}
    loss = by_candidate(rows, lambda row: -row["measures"]["pip_loss"])
    expected = samples(loss, by_candidate(rows, lambda row: row["scores"]["two"]), nbytes)
    row = tasks["two"]["pip_loss"]
    assert row["candidates"] == 10
    for key in STATISTICS:
        found = interval(expected[key])
        assert [row[key][end] for end in ("value", "low", "high")] == [found.value, found.low, found.high], key
    assert row["spearman"]["value"] == pytest.approx(1) and row["selection_error"]["value"] == 0


def test_overall_is_the_mean_of_the_tasks_and_of_losses_the_largest() -> None:
    tasks, overall = compare(results(), ["eos", "mean_cosine"], TASKS)
    for key in ("eos", "mean_cosine"):
        for statistic in STATISTICS:
            each = [tasks[task][key][statistic]["value"] for task in TASKS]
            together = max(each) if statistic.startswith("largest") else np.mean(each)
            assert overall[key][statistic]["value"] == pytest.approx(together)
            assert overall[key][statistic]["low"] <= overall[key][statistic]["high"]


def test_a_better_measure_is_told_from_eos_and_eos_not_from_itself() -> None:
    _, overall = compare(results(), ["eos", "pip_loss"], TASKS)
    for statistic in STATISTICS:
        same = overall["eos"][statistic]["against_eos"]
        assert same == {"value": 0, "low": 0, "high": 0}, statistic
    error = overall["pip_loss"]["selection_error"]["against_eos"]
    values = [overall[key]["selection_error"]["value"] for key in ("pip_loss", "eos")]
    assert error["value"] == pytest.approx(values[0] - values[1]) and error["high"] < 0
    assert overall["pip_loss"]["spearman"]["against_eos"]["low"] > 0


def test_a_difference_is_paired() -> None:
    """Of a measure that is EOS but for one candidate the interval is far narrower than that of either."""
    rows = results(m=14)
    for row in rows:
        row["measures"]["pip_loss"] = -row["measures"]["eos"] + 0.1 * (row["candidate"] == "c0")
    _, overall = compare(rows, ["eos", "pip_loss"], TASKS)
    width = lambda interval: interval["high"] - interval["low"]  # noqa: E731
    error = overall["pip_loss"]["selection_error"]
    assert width(error["against_eos"]) < 0.5 * width(error)


def test_candidates_without_a_measure_are_compared_with_eos_without_them() -> None:
    rows = results()
    some = [row for row in rows if "mean_cosine" in row["measures"]]
    tasks, overall = compare(rows, ["mean_cosine"], TASKS)
    fewer, less = compare(some, ["mean_cosine"], TASKS)
    assert tasks == fewer and overall == less and tasks["one"]["mean_cosine"]["candidates"] == 7


def test_tasks_of_too_few_candidates_do_not_count() -> None:
    rows = results()
    for row in rows:
        if row["candidate"] not in ("c0", "c1"):
            del row["scores"]["two"]
    tasks, overall = compare(rows, ["eos", "delta"], TASKS)
    assert tasks["two"]["eos"]["spearman"]["value"] is None
    assert overall["eos"]["spearman"]["value"] == tasks["one"]["eos"]["spearman"]["value"]
    assert overall["delta"]["spearman"]["value"] is None and tasks["one"]["delta"]["candidates"] == 0
