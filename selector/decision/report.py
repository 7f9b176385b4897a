"""What a person gets of a selection: the CSV and the picture. The page is in `page.py`, the ranking in `ranking.py`."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only, whatever screen there is

import matplotlib.pyplot as plt

from eigenselect.selector.decision.escaping import in_csv
from eigenselect.selector.decision.lookup import RATIO
from eigenselect.selector.decision.palette import SYMBOLS, styles
from eigenselect.selector.decision.selection import Candidate, Selection
from eigenselect.selector.measures import higher_is_better


def by_method(candidates: Sequence[Candidate], criterion: str) -> list[tuple[str, list[Candidate]]]:
    """The candidates that have the criterion, under the names of their compressors."""
    scored = sorted((c for c in candidates if criterion in c.measures), key=lambda c: c.method)
    return [(name, list(group)) for name, group in itertools.groupby(scored, key=lambda c: c.method)]


def points_of(candidates: Sequence[Candidate], criterion: str) -> tuple[list[float], list[float]]:
    """Megabytes and scores."""
    return [c.nbytes / 1e6 for c in candidates], [c.measures[criterion] for c in candidates]


def pareto_front(candidates: Sequence[Candidate], criterion: str, *, lookup: bool = False) -> list[Candidate]:
    """Candidates that no other equals or beats in bytes and criterion, by increasing bytes.

    Args:
        candidates: of which those that lack a figure are left out.
        criterion: metric key.
        lookup: the time of a lookup counts as well.
    """
    sign = -1 if higher_is_better(criterion) else 1

    def goals(c: Candidate) -> tuple[float, ...]:
        return (c.nbytes, sign * c.measures[criterion], *((c.costs[RATIO],) if lookup else ()))

    front: list[Candidate] = []
    able = [c for c in candidates if criterion in c.measures and (RATIO in c.costs or not lookup)]
    for candidate in sorted(able, key=lambda c: (goals(c), c.name)):
        mine = goals(candidate)
        if not any(all(a <= b for a, b in zip(goals(other), mine, strict=True)) for other in front):
            front.append(candidate)
    return front


def write_csv(path: Path, candidates: Sequence[Candidate], keys: Sequence[str]) -> None:
    """One row a candidate: name, compressor, parameters (JSON), nbytes, status, figures, reason, run_id.

    Args:
        path: the file.
        candidates: the rows, in their order.
        keys: of measures, their standard errors and costs, the columns.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "compressor", "parameters", "nbytes", "status", *keys, "reason", "run_id"])
        for c in candidates:
            known = c.measures | c.standard_errors | c.costs
            scores = [repr(known[key]) if key in known else "" for key in keys]
            method, reason = in_csv(c.compressor), None if c.reason is None else in_csv(c.reason)
            settings = json.dumps(c.parameters)
            writer.writerow([in_csv(c.name), method, settings, c.nbytes, c.status, *scores, reason, c.run_id])


def write_picture(path: Path, selection: Selection, candidates: Sequence[Candidate]) -> None:
    """The criterion against megabytes, with the budget and the Pareto front, as a PNG."""
    criterion = selection.criterion
    figure, axes = plt.subplots(figsize=(11, 5.5), layout="constrained")
    looks = styles(c.method for c in candidates if c.status == "measured")
    for method, points in by_method(candidates, criterion):
        colour, symbol = looks[method]
        axes.scatter(*points_of(points, criterion), label=method, marker=SYMBOLS[symbol], color=colour, alpha=0.8)
    front = pareto_front(candidates, criterion)
    axes.step(*points_of(front, criterion), where="post", color="0.6", zorder=0, label="Pareto front")
    _name_points(axes, front, criterion)
    chosen = selection.chosen
    axes.scatter(
        *points_of([chosen], criterion),
        s=160,
        facecolors="none",
        edgecolors="black",
        linewidths=1.5,
        label=f"chosen: {chosen.name}",
    )
    axes.axvline(selection.budget / 1e6, color="black", linestyle="--", linewidth=1, label="budget")
    axes.set(xlabel="payload, MB", ylabel=criterion, title=f"{criterion} against size")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _name_points(axes: Any, front: Sequence[Candidate], criterion: str) -> None:
    """The candidates' names beside their points, the last first; none over another."""
    renderer = axes.figure.canvas.get_renderer()
    taken: list[Any] = []
    for candidate in reversed(front):
        at = (candidate.nbytes / 1e6, candidate.measures[criterion])
        right = axes.transAxes.inverted().transform(axes.transData.transform(at))[0] > 0.6
        name = axes.annotate(
            candidate.name,
            at,
            xytext=(-7 if right else 7, 6 if right else -8),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=7,
        )
        box = name.get_window_extent(renderer)
        if any(box.overlaps(other) for other in taken):
            name.remove()
        else:
            taken.append(box)
