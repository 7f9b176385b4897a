"""What a person sees of a selection: the table on the terminal, the pictures, the CSV and the page."""

from __future__ import annotations

import csv
import html
import itertools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only, whatever screen there is

import matplotlib.pyplot as plt
import plotly.graph_objects as go
from rich.console import Console
from rich.table import Table as Grid

from eigenselect.selector.decision.lookup import NANOSECONDS, RATIO
from eigenselect.selector.decision.selection import Candidate, Selection, why
from eigenselect.selector.measures import WEIGHTED, higher_is_better, is_overlap

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


def _by_method(candidates: Sequence[Candidate], criterion: str) -> list[tuple[str, list[Candidate]]]:
    """The candidates that have the criterion, under the names of their compressors."""
    scored = sorted((c for c in candidates if criterion in c.measures), key=method)
    return [(name, list(group)) for name, group in itertools.groupby(scored, key=method)]


def _points(candidates: Sequence[Candidate], criterion: str) -> tuple[list[float], list[float]]:
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
        grid.add_row(str(place), candidate.name, _megabytes(candidate), rate, _ratio(candidate), *scores)
    console.print(grid)


def _ratio(candidate: Candidate) -> str:
    """How many times as long as a float32 Gather its lookups take."""
    return f"{candidate.costs[RATIO]:.3g}x" if RATIO in candidate.costs else "-"


def _weighted(key: str) -> bool:
    return key.startswith(WEIGHTED)


def _megabytes(candidate: Candidate) -> str:
    megabytes = candidate.nbytes / 1e6
    return f"{megabytes:,.2f}" if megabytes >= 1 else f"{megabytes:.3g}"


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
    for marker, (compressor, points) in zip(
        itertools.cycle("osD^vPX"), _by_method(candidates, criterion), strict=False
    ):
        axes.scatter(*_points(points, criterion), label=compressor, marker=marker, alpha=0.7)
    front = pareto_front(candidates, criterion)
    axes.step(*_points(front, criterion), where="post", color="0.6", zorder=0, label="Pareto front")
    _name_points(axes, front, criterion)
    chosen = selection.chosen
    axes.scatter(
        *_points([chosen], criterion),
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


PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>eigenselect: {name}</title>\
<style>body{{font:15px sans-serif;margin:2em auto;max-width:70em}}td,th{{padding:.2em .8em;text-align:left}}\
td.n{{text-align:right;white-space:nowrap}}pre{{background:#f6f6f6;padding:1em;overflow:auto}}</style>\
<h1>{name}</h1><p>{why}</p>{chart}{times}\
<h2>Candidates</h2><table>{candidates}</table>\
<p>After ±: the standard error, between tables of other rows, as many and alike.</p>\
<h2>What other criteria would choose</h2><table>{criteria}</table>\
<h2>Record</h2><pre>{record}</pre></html>"""


def write_page(path: Path, selection: Selection, candidates: Sequence[Candidate], record: str) -> None:
    """A page that stands alone: the decision, the interactive picture, every candidate with its reason.

    Args:
        path: the file.
        selection: the choice.
        candidates: every candidate.
        record: the text of the decision's record.
    """
    criterion = selection.criterion
    page = PAGE.format(
        name=html.escape(selection.chosen.name),
        why=html.escape(why(selection)),
        chart=_chart(selection, candidates).to_html(full_html=False, include_plotlyjs=True),
        times=_times(selection, candidates),
        candidates=_candidates_as_html(selection, {c.name for c in pareto_front(candidates, criterion, lookup=True)}),
        criteria=_criteria_as_html(selection),
        record=html.escape(record),
    )
    path.write_text(page, encoding="utf-8")


def _chart(selection: Selection, candidates: Sequence[Candidate]) -> go.Figure:
    """The picture of `write_picture`, to point at."""
    criterion = selection.criterion
    figure = go.Figure()
    for symbol, (compressor, points) in enumerate(_by_method(candidates, criterion)):
        x, y = _points(points, criterion)
        names = [c.name for c in points]
        marker = {"size": 9, "opacity": 0.7, "symbol": symbol}
        figure.add_scatter(x=x, y=y, text=names, mode="markers", marker=marker, name=compressor)
    x, y = _points(pareto_front(candidates, criterion), criterion)
    line = {"shape": "hv", "color": "lightgray"}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, name="Pareto front", hoverinfo="skip")
    x, y = _points([selection.chosen], criterion)
    ring = {"size": 18, "symbol": "circle-open", "color": "black"}
    figure.add_scatter(x=x, y=y, mode="markers", marker=ring, name="chosen", hoverinfo="skip")
    figure.add_vline(x=selection.budget / 1e6, line_dash="dash", annotation_text="budget")
    figure.update_layout(xaxis_title="payload, MB", yaxis_title=criterion, template="plotly_white", height=520)
    return figure


def _times(selection: Selection, candidates: Sequence[Candidate]) -> str:
    """The criterion against the time of a lookup, and the Pareto front of both and bytes; nothing without times."""
    criterion, chosen = selection.criterion, selection.chosen
    if chosen.timed_on is None:
        return ""
    front = pareto_front(candidates, criterion, lookup=True)
    others = [c for c in candidates if criterion in c.measures and RATIO in c.costs and c not in front]
    figure = go.Figure()
    for name, points, symbol in (("Pareto front", front, "circle"), ("others", others, "circle-open")):
        figure.add_scatter(
            x=[c.costs[RATIO] for c in points],
            y=[c.measures[criterion] for c in points],
            text=[f"{c.name}, {_megabytes(c)} MB" for c in points],
            mode="markers",
            marker={
                "size": 10,
                "symbol": symbol,
                "color": [c.nbytes / 1e6 for c in points],
                "coloraxis": "coloraxis",
            },
            name=name,
        )
    ring = {"size": 18, "symbol": "circle-open", "color": "black"}
    at = [chosen.costs[RATIO]], [chosen.measures[criterion]]
    figure.add_scatter(x=at[0], y=at[1], mode="markers", marker=ring, name="chosen", hoverinfo="skip")
    if selection.limit is not None and selection.limit.key == RATIO:
        figure.add_vline(x=selection.limit.most, line_dash="dash", annotation_text="limit")
    figure.update_layout(
        xaxis_title="lookup of 8,192 ids on one thread, times a float32 Gather",
        yaxis_title=criterion,
        coloraxis={"colorbar": {"title": "MB"}, "colorscale": "Viridis"},
        legend={"orientation": "h"},
        template="plotly_white",
        height=520,
    )
    says = f"The front is of bytes, {criterion} and lookups together. Times were measured on {chosen.timed_on}."
    chart: str = figure.to_html(full_html=False, include_plotlyjs=False)
    return f"<h2>Time of a lookup</h2>{chart}<p>{html.escape(says)}</p>"


def _candidates_as_html(selection: Selection, front: Collection[str]) -> str:
    """The rows of a table: every candidate with its figures, and why it was chosen or not.

    Args:
        selection: the choice.
        front: names of the candidates of the Pareto front in bytes, criterion and lookups.
    """
    keys = list(dict.fromkeys([selection.criterion, *filter(is_overlap, selection.chosen.measures)]))
    rows = "".join(
        f"<tr><td>{html.escape(c.name)}<td class=n>{c.nbytes:,}"
        + "".join(f"<td class=n>{_with_error(c, key)}" for key in keys)
        + f"<td class=n>{_ratio(c)}<td class=n>{_nanoseconds(c)}<td>{'yes' if c.name in front else ''}"
        + f"<td>{html.escape(reason)}"
        for c, reason in [(selection.chosen, "chosen"), *selection.rejected]
    )
    return f"<tr><th>name<th>bytes<th>{'<th>'.join(keys)}<th>lookup<th>ns a row<th>front<th>why{rows}"


def _nanoseconds(candidate: Candidate) -> str:
    return f"{candidate.costs[NANOSECONDS]:,.0f}" if NANOSECONDS in candidate.costs else "-"


def _criteria_as_html(selection: Selection) -> str:
    """The rows of a table: what every other measure would have chosen."""
    rows = "".join(
        f"<tr><td>{a.criterion}<td>{html.escape(a.best.name)}<td class=n>{_with_error(a.best, a.criterion)}"
        f"<td class=n>{_with_error(selection.chosen, a.criterion)}"
        f"<td class=n>{a.rank or '-'} of {a.ranked}{', a tie' if a.tie and a.rank != 1 else ''}"
        for a in selection.alternatives
    )
    return f"<tr><th>criterion<th>best by it<th>of the best<th>of the chosen one<th>place of the chosen one{rows}"


def _with_error(candidate: Candidate, key: str) -> str:
    """A score with its standard error, as far as there are any."""
    if key not in candidate.measures:
        return ""
    error = candidate.standard_errors.get(f"{key}_stderr")
    return f"{candidate.measures[key]:.6g}" + ("" if error is None else f" ± {error:.1g}")
