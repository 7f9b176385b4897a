"""What a person sees of a selection: the table on the terminal, the CSV, the picture. The page is in `page.py`."""

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
from rich.console import Console
from rich.table import Table as Grid

from eigenselect.selector.decision.lookup import RATIO
from eigenselect.selector.decision.selection import Candidate, Selection
from eigenselect.selector.measures import WEIGHTED, higher_is_better

SHOWN = {
    "eos": ("EOS", "{:.4f}"),
    "reconstruction_error_relative": ("rel. error", "{:.4f}"),
    "pip_loss_relative": ("rel. PIP", "{:.4f}"),
    "mean_cosine": ("cosine", "{:.4f}"),
}
"""Measures on the terminal: metric key -> heading and format."""


def method(candidate: Candidate) -> str:
    """The compressors of a candidate, from the outermost on: `Spectral, TrellisCode`."""
    names, key = [candidate.compressor], "then"
    while key in candidate.parameters:
        names.append(candidate.parameters[key])
        key += ".then"
    return ", ".join(name for name in names if name != "Identity" or names == [name])


def by_method(candidates: Sequence[Candidate], criterion: str) -> list[tuple[str, list[Candidate]]]:
    """The candidates that have the criterion, under the names of their compressors."""
    scored = sorted((c for c in candidates if criterion in c.measures), key=method)
    return [(name, list(group)) for name, group in itertools.groupby(scored, key=method)]


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


def print_ranking(console: Console, selection: Selection, float32_bytes: int) -> None:
    """The ranked candidates that fit, best first."""
    weighted = {key: (f"EOS {key.rpartition('_')[2]}", "{:.4f}") for key in selection.chosen.measures if _weighted(key)}
    keys = {selection.criterion: (selection.criterion, "{:.4g}"), "eos": SHOWN["eos"], **weighted, **SHOWN}
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("#", justify="right")
    grid.add_column("candidate", no_wrap=True)
    grid.add_column("MB", justify="right")
    grid.add_column("rate", justify="right")
    grid.add_column("lookup", justify="right")
    for heading, _ in keys.values():
        grid.add_column(heading, justify="right")
    for place, candidate in enumerate(selection.ranking, start=1):
        scores = (
            form.format(candidate.measures[key]) if key in candidate.measures else "-"
            for key, (_, form) in keys.items()
        )
        rate = f"{float32_bytes / candidate.nbytes:.1f}x"
        grid.add_row(str(place), candidate.name, megabytes(candidate), rate, ratio(candidate), *scores)
    console.print(grid)


def ratio(candidate: Candidate) -> str:
    """How many times as long as a float32 Gather its lookups take."""
    return f"{candidate.costs[RATIO]:.3g}x" if RATIO in candidate.costs else "-"


def _weighted(key: str) -> bool:
    return key.startswith(WEIGHTED)


def megabytes(candidate: Candidate) -> str:
    """The size of its payload, in MB, in few characters."""
    size = candidate.nbytes / 1e6
    return f"{size:,.2f}" if size >= 1 else f"{size:.3g}"


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
            settings = json.dumps(c.parameters)
            writer.writerow([c.name, c.compressor, settings, c.nbytes, c.status, *scores, c.reason, c.run_id])


def write_picture(path: Path, selection: Selection, candidates: Sequence[Candidate]) -> None:
    """The criterion against megabytes, with the budget and the Pareto front, as a PNG."""
    criterion = selection.criterion
    figure, axes = plt.subplots(figsize=(11, 5.5), layout="constrained")
    for marker, (compressor, points) in zip(itertools.cycle("osD^vPX"), by_method(candidates, criterion), strict=False):
        axes.scatter(*points_of(points, criterion), label=compressor, marker=marker, alpha=0.7)
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
