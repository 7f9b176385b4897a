"""What a person sees of the evidence: `evidence.json`, `evidence.html` and the table on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from eigenselect.selector.decision.palette import styles
from eigenselect.selector.decision.templates import render
from eigenselect.selector.evidence.analysis.comparison import BASELINE
from eigenselect.selector.evidence.analysis.statistics import CONFIDENCE, RESAMPLES, SAME_SIZE, STATISTICS
from eigenselect.selector.measures import higher_is_better

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

SHOWN = 5
"""Digits of what a picture is drawn from."""

WIDE = 150
"""Columns of a terminal from which on all statistics are printed."""


def show(console: Console, evidence: dict[str, Any]) -> None:
    """The statistics over all tasks with their intervals, best correlation first, and which differ from EOS."""
    shown = STATISTICS if console.width >= WIDE else STATISTICS[:2]
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("measure", overflow="fold")
    for statistic in shown:
        grid.add_column(HEADINGS[statistic], justify="right", no_wrap=True)
    grid.add_column("against EOS", no_wrap=True)
    for key, row in _ranked(evidence["overall"]):
        against = "" if key == BASELINE else _verdict(row["spearman"]["against_eos"])
        grid.add_row(key, *(_cell(row[statistic]) for statistic in shown), against)
    console.print(grid)
    count = len({result["candidate"] for result in evidence["results"] if result["scores"]})
    console.print(
        f"\n{count} candidates, {len(evidence['seeds'])} seeds. Mean over {', '.join(evidence['tasks'])}; "
        f"of the losses the largest. In brackets the {CONFIDENCE:.0%} intervals; no distinction: that of the Spearman "
        "correlation less the one of EOS holds 0.",
        soft_wrap=True,
    )


def _verdict(interval: dict[str, Any]) -> str:
    """Whether a measure orders candidates better than EOS, as far as that is known."""
    if interval["low"] is None:
        return "-"
    if interval["low"] <= 0 <= interval["high"]:
        return "no distinction"
    return "better" if interval["low"] > 0 else "worse"


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
    ranked = _ranked(evidence["overall"])
    page = render(
        "evidence.html",
        title=f"What the measures of {Path(evidence['table']['path']).name} predict",
        table=evidence["table"],
        budget=evidence["budget_bytes"],
        seeds=evidence["seeds"],
        headings=["measure", *HEADINGS.values()],
        overall=[[key, *(_cell(row[each]) for each in STATISTICS)] for key, row in ranked],
        against=[
            [key, *(_cell(row[each]["against_eos"]) for each in STATISTICS)] for key, row in ranked if key != BASELINE
        ],
        definitions=evidence["definitions"],
        tasks=[
            {"name": name, "missing": task["missing"], "rows": _rows(task["measures"])}
            for name, task in evidence["tasks"].items()
        ],
        chart=_chart(evidence),
    )
    (folder / "evidence.html").write_text(page, encoding="utf-8")


def _rows(measures: dict[str, Any]) -> list[list[str]]:
    """A task's statistics with their intervals."""
    return [
        [key, str(row["candidates"]), *(_cell(row[statistic]) for statistic in STATISTICS)]
        for key, row in measures.items()
    ]


def _cell(interval: dict[str, Any]) -> str:
    if interval["low"] is None:
        return _text(interval["value"])
    return f"{_text(interval['value'])} [{_text(interval['low'])}, {_text(interval['high'])}]"


def _chart(evidence: dict[str, Any]) -> dict[str, Any]:
    """What the picture is drawn from: the scores of the tasks and the measures, a point a candidate."""
    of_candidate: dict[str, list[dict[str, Any]]] = {}
    for result in evidence["results"]:
        if result["scores"]:
            of_candidate.setdefault(result["candidate"], []).append(result)
    tasks = [*evidence["tasks"]]
    known = {key for results in of_candidate.values() for result in results for key in result["measures"]}
    measures = [key for key in evidence["overall"] if key in known]
    axes = {task: {"says": f"{task}: score", "better": 1} for task in tasks}
    axes |= {key: {"says": key, "better": 1 if higher_is_better(key) else -1} for key in measures}
    return {
        "points": [
            {
                "name": f"{name}, {results[0]['nbytes']:,} bytes",
                "method": _method(name),
                "at": _means([result["scores"] | result["measures"] for result in results], [*tasks, *measures]),
            }
            for name, results in of_candidate.items()
        ],
        "axes": axes,
        "styles": styles(map(_method, of_candidate)),
        "x": BASELINE if BASELINE in axes else next(iter(axes), ""),
        "y": next(iter(axes), ""),
        "lines": {},
    }


def _means(values: Sequence[Mapping[str, float]], keys: Sequence[str]) -> dict[str, float]:
    """Of each key that all have, to as many digits as a picture shows."""
    return {
        key: float(f"{sum(each[key] for each in values) / len(values):.{SHOWN}g}")
        for key in keys
        if all(key in each for each in values)
    }


def _method(candidate: str) -> str:
    """What its name begins with."""
    return candidate.partition("-")[0].rstrip("0123456789.")
