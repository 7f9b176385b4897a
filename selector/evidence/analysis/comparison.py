"""From the results of candidates to what each measure is worth: on each task, and over all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eigenselect.selector.evidence.analysis.statistics import STATISTICS, Samples, interval, samples
from eigenselect.selector.measures import higher_is_better

BASELINE = "eos"
"""What every measure is held against."""

Results = Sequence[Mapping[str, Any]]
"""`results` of `evidence.json`: candidate, nbytes, seed, measures and scores of each candidate and seed."""


def compare(results: Results, measures: Sequence[str], tasks: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The statistics of each measure, and how far each is from those of EOS on the same candidates.

    Candidates and seeds are resampled together for all measures and tasks, so that differences are paired.

    Args:
        results: of candidates and seeds.
        measures: metric keys.
        tasks: names of tasks.

    Returns:
        Task -> measure -> `candidates` and every statistic as value, low, high and the same `against_eos`; and
        measure -> every statistic over all tasks: the mean, of the losses the largest.
    """
    found: dict[str, Any] = {}
    together: dict[str, list[tuple[Samples, Samples]]] = {key: [] for key in measures}
    nbytes = {row["candidate"]: row["nbytes"] for row in results}
    for task in tasks:
        found[task] = {}
        performance = _by_candidate((row["candidate"], row["scores"].get(task)) for row in results)
        values = {key: _measured(results, key, task, performance) for key in {*measures, BASELINE}}
        known: dict[tuple[str, ...], Samples] = {}
        for key in measures:
            same = tuple(name for name in values[key] if name in values[BASELINE])
            if same not in known:
                known[same] = samples({name: values[BASELINE][name] for name in same}, performance, nbytes)
            own = known[same] if key == BASELINE else samples(values[key], performance, nbytes)
            found[task][key] = {"candidates": len(values[key]), **_summary(own, known[same])}
            if len(values[key]):
                together[key].append((own, known[same]))
    return found, {key: _overall(pairs) for key, pairs in together.items()}


def _by_candidate(values: Iterable[tuple[str, float | None]]) -> dict[str, list[float]]:
    """Candidate -> its values, one a seed, that are not None."""
    found: dict[str, list[float]] = {}
    for name, value in values:
        if value is not None:
            found.setdefault(name, []).append(value)
    return found


def _measured(
    results: Results, key: str, task: str, performance: Mapping[str, Sequence[float]]
) -> dict[str, list[float]]:
    """Candidate -> the measure, more is better, at each seed of its performance; those that lack one are left out."""
    sign = 1 if higher_is_better(key) else -1

    found = _by_candidate(
        (row["candidate"], sign * row["measures"][key])
        for row in results
        if task in row["scores"] and key in row["measures"]
    )
    return {name: each for name, each in found.items() if len(each) == len(performance[name])}


def _summary(own: Samples, baseline: Samples) -> dict[str, Any]:
    return {
        statistic: {
            **asdict(interval(own[statistic])),
            "against_eos": asdict(interval(own[statistic] - baseline[statistic])),
        }
        for statistic in STATISTICS
    }


def _overall(pairs: Sequence[tuple[Samples, Samples]]) -> dict[str, Any]:
    """Over all tasks that have the statistic."""

    def joined(which: int, statistic: str) -> Any:
        each = [pair[which][statistic] for pair in pairs if not np.isnan(pair[which][statistic][0])]
        if not each:
            return np.full(1, np.nan)
        return np.max(each, axis=0) if statistic.startswith("largest") else np.mean(each, axis=0)

    own, baseline = ({statistic: joined(which, statistic) for statistic in STATISTICS} for which in (0, 1))
    return _summary(own, baseline)
