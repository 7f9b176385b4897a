"""What a person sees of the evidence: `evidence.json`, `evidence.html` and the table on the terminal."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots
from rich.console import Console
from rich.table import Table as Grid

from eigenselect.selector.evidence.analysis.comparison import BASELINE
from eigenselect.selector.evidence.analysis.statistics import CONFIDENCE, RESAMPLES, SAME_SIZE, STATISTICS

FILES = ("evidence.json", "evidence.html")

DEFINITIONS = {
    "spearman": "rank correlation of a measure with performance over the candidates, the mean over the seeds of each; "
    "the sign of a measure of which less is better is turned (May et al. 2019, Table 1)",
    "selection_error": "share of all pairs of candidates of which the measure picks the one that performs worse; "
    "a pair that it ties counts as half, one that performs equally as right (Table 2)",
    "selection_error_equal_bytes": "the same over the pairs of which the larger one has at most "
    f"{SAME_SIZE:.0%} more bytes than the smaller one",
    "largest_loss": "the most performance that picking by the measure loses on any pair; a tie is picked as badly as "
    "can be (Table 17)",
    "largest_loss_equal_bytes": "the same over the pairs of equal bytes",
    "intervals": f"{CONFIDENCE:.0%} percentile bootstrap of {RESAMPLES:,} resamples of the candidates, each with its "
    "seeds resampled",
    "overall": "mean over the tasks; of the losses the largest",
    "against_eos": "the same statistic less that of EOS on the same candidates; an interval without 0 tells them apart",
}

HEADINGS = {
    "spearman": "Spearman",
    "selection_error": "selection error",
    "selection_error_equal_bytes": "at equal bytes",
    "largest_loss": "largest loss",
    "largest_loss_equal_bytes": "at equal bytes ",
}

COLUMNS, WIDTH, HEIGHT = 4, 1200, 260
"""Plots in a row; pixels of a row."""

COLORS = qualitative.D3


def show(console: Console, evidence: dict[str, Any]) -> None:
    """The statistics over all tasks, best correlation first."""
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("measure")
    for heading in HEADINGS.values():
        grid.add_column(heading, justify="right")
    for key, row in _ranked(evidence["overall"]):
        grid.add_row(key, *(_text(row[statistic]["value"]) for statistic in STATISTICS))
    console.print(grid)
    count = len({result["candidate"] for result in evidence["results"] if result["scores"]})
    console.print(
        f"\n{count} candidates, {len(evidence['seeds'])} seeds. Mean over {', '.join(evidence['tasks'])}; "
        "of the losses the largest.",
        soft_wrap=True,
    )


def _ranked(rows: dict[str, Any]) -> list[tuple[str, Any]]:
    def place(item: tuple[str, Any]) -> tuple[bool, float, str]:
        value = item[1]["spearman"]["value"]
        return (value is None, -(value or 0), item[0])

    return sorted(rows.items(), key=place)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def write(folder: Path, evidence: dict[str, Any]) -> None:
    """Both files."""
    text = json.dumps(evidence, indent=2, allow_nan=False)
    (folder / "evidence.json").write_text(text + "\n", encoding="utf-8")
    table = evidence["table"]
    title = f"What the measures of {Path(table['path']).name} predict"
    words = "".join(f"<dt>{html.escape(k)}<dd>{html.escape(v)}" for k, v in evidence["definitions"].items())
    ranked = _ranked(evidence["overall"])
    headings = ["measure", *HEADINGS.values()]
    summary = _grid(headings, [[key, *(_cell(row[each]) for each in STATISTICS)] for key, row in ranked])
    others = [(key, row) for key, row in ranked if key != BASELINE]
    against = _grid(headings, [[key, *(_cell(row[each]["against_eos"]) for each in STATISTICS)] for key, row in others])
    sections, first = [], True
    for name, task in evidence["tasks"].items():
        chart = _picture(name, evidence).to_html(full_html=False, include_plotlyjs=first, div_id=f"plot-{name}")
        missing = (
            "" if task["missing"] is None else f"<p>{task['missing']:.1%} of what it looks up is not in the table."
        )
        sections.append(f"<h2>{html.escape(name)}</h2>{missing}{_table(task['measures'])}{chart}")
        first = False
    (folder / "evidence.html").write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>eigenselect: {html.escape(title)}</title>"
        "<style>body{font:15px sans-serif;margin:2em auto;max-width:80em}td,th{padding:.2em .8em;text-align:right}"
        "td:first-child,th:first-child{text-align:left}dt{font-weight:bold}</style>"
        f"<h1>{html.escape(title)}</h1><p>{table['n']:,} x {table['d']}, candidates of at most "
        f"{evidence['budget_bytes']:,} bytes, seeds {', '.join(map(str, evidence['seeds']))}.</p>"
        f"<h2>Over all tasks</h2>{summary}<h2>Over all tasks, less what EOS has</h2>{against}<dl>{words}</dl>"
        f"{''.join(sections)}</html>",
        encoding="utf-8",
    )


def _table(measures: dict[str, Any]) -> str:
    """A task's statistics with their intervals."""
    rows = [
        [key, str(row["candidates"]), *(_cell(row[statistic]) for statistic in STATISTICS)]
        for key, row in measures.items()
    ]
    return _grid(["measure", "candidates", *HEADINGS.values()], rows)


def _cell(interval: dict[str, Any]) -> str:
    if interval["low"] is None:
        return _text(interval["value"])
    return f"{_text(interval['value'])} [{_text(interval['low'])}, {_text(interval['high'])}]"


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(each)}" for each in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(each)}" for each in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _picture(task: str, evidence: dict[str, Any]) -> go.Figure:
    """Performance against each measure: a plot a measure, a colour a method, a point a candidate and seed."""
    keys = [key for key, row in evidence["tasks"][task]["measures"].items() if row["candidates"]]
    methods = list(dict.fromkeys(_method(each["candidate"]) for each in evidence["results"]))
    rows = -(-len(keys) // COLUMNS)
    figure = make_subplots(rows, COLUMNS, subplot_titles=keys, vertical_spacing=0.25 / rows)
    named: set[str] = set()
    for (place, key), method in itertools.product(enumerate(keys), methods):
        points = [
            each
            for each in evidence["results"]
            if task in each["scores"] and key in each["measures"] and _method(each["candidate"]) == method
        ]
        if not points:
            continue
        figure.add_scatter(
            x=[each["measures"][key] for each in points],
            y=[each["scores"][task] for each in points],
            text=[f"{each['candidate']}, seed {each['seed']}, {each['nbytes']:,} bytes" for each in points],
            mode="markers",
            marker={"size": 6, "opacity": 0.6, "color": COLORS[methods.index(method) % len(COLORS)]},
            name=method,
            legendgroup=method,
            showlegend=method not in named,
            row=place // COLUMNS + 1,
            col=place % COLUMNS + 1,
        )
        named.add(method)
    figure.update_layout(template="plotly_white", width=WIDTH, height=80 + HEIGHT * rows)
    return figure


def _method(candidate: str) -> str:
    """What its name begins with."""
    return candidate.partition("-")[0].rstrip("0123456789.")
