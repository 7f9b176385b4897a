"""The ranking as a table for the terminal, as wide as there is room."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from rich.table import Table as Grid

from eigenselect.selector.decision.lookup import RATIO
from eigenselect.selector.decision.selection import Candidate, Selection, why
from eigenselect.selector.measures import BY_FREQUENCY, WEIGHTED

SHOWN = 10
"""Candidates of a ranking that are printed; the others are counted."""

ERROR = ("rel. error", "reconstruction_error_relative")

OTHERS = (("rel. PIP", "pip_loss_relative"), ("cosine", "mean_cosine"))
"""Heading and metric key of what is shown where there is room."""

GAP = 2
"""Spaces between two columns."""

Column = tuple[str, Callable[[Candidate], str]]


def ranking(selection: Selection, float32_bytes: int, width: int) -> Grid:
    """The best candidates that fit, best first: what the choice is made by, then other measures as far as they fit.

    Args:
        selection: the choice.
        float32_bytes: of the table.
        width: characters of a line.
    """
    ranked = selection.ranking[:SHOWN]
    columns = [*_sizes(float32_bytes), *_scores(selection)]
    left = width - 4 - max(len(c.name) for c in ranked) - sum(_width(column, ranked) for column in columns)
    for column in _others(selection):
        left -= _width(column, ranked)
        if left < 0:
            break
        columns.append(column)
    table = grid(["#", "candidate"], [says for says, _ in columns])
    table.columns[0].justify, table.columns[0].no_wrap = "right", True
    for place, candidate in enumerate(ranked, start=1):
        table.add_row(str(place), candidate.name, *(value(candidate) for _, value in columns))
    return table


def as_html(selection: Selection, float32_bytes: int) -> str:
    """The ranking and the choice in a few sentences, as a part of a page."""
    columns = [*_sizes(float32_bytes), *_scores(selection), *_others(selection)]
    heads = "".join(f"<th>{html.escape(says)}" for says, _ in columns)
    rows = "".join(
        f"<tr><td>{place}<td style='text-align:left'>{html.escape(candidate.name)}"
        + "".join(f"<td>{html.escape(value(candidate))}" for _, value in columns)
        for place, candidate in enumerate(selection.ranking[:SHOWN], start=1)
    )
    sentences = [why(selection)] if (more := rest(selection)) is None else [more, why(selection)]
    says = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    return f"<table><tr><th>#<th style='text-align:left'>candidate{heads}{rows}</table>{says}"


def across(jobs: Sequence[tuple[str, Selection]]) -> Grid:
    """The choices of several jobs, a line each.

    Args:
        jobs: the settings that each has of its own, and its choice.
    """
    criteria = dict.fromkeys(selection.criterion for _, selection in jobs)
    columns: list[Column] = [("MB", megabytes), *(_measure(heading(key), key) for key in criteria)]
    if any(selection.chosen.timed_on is not None for _, selection in jobs):
        columns.append(("lookup", ratio))
    if ERROR[1] not in criteria:
        columns.append(_measure(*ERROR))
    table = grid(["job", "chosen"], [says for says, _ in columns])
    for own, selection in jobs:
        table.add_row(own, selection.chosen.name, *(value(selection.chosen) for _, value in columns))
    return table


def grid(texts: Sequence[str], numbers: Sequence[str]) -> Grid:
    """A table with these headings, whose numbers are never cut: where there is no room, a text has several lines."""
    table = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for text in texts:
        table.add_column(text, overflow="fold")
    for says in numbers:
        table.add_column(says, justify="right", no_wrap=True)
    return table


def rest(selection: Selection) -> str | None:
    """What is said of the candidates that `ranking` leaves out, where there are any."""
    if not (more := selection.ranking[SHOWN:]):
        return None
    last = more[-1]
    return f"... and {len(more)} more, down to {last.name} with {number(last.measures[selection.criterion])}"


def _sizes(float32_bytes: int) -> list[Column]:
    return [("MB", megabytes), ("rate", lambda c: f"{float32_bytes / c.nbytes:.1f}x")]


def _scores(selection: Selection) -> list[Column]:
    """The criterion, the cost of a lookup where it is known, and one error."""
    found = [_measure(heading(selection.criterion), selection.criterion)]
    if selection.chosen.timed_on is not None:
        found.append(("lookup", ratio))
    return found if selection.criterion == ERROR[1] else [*found, _measure(*ERROR)]


def _others(selection: Selection) -> list[Column]:
    weighted = [key for key in selection.chosen.measures if key.startswith(WEIGHTED)]
    keys = {key: heading(key) for key in ("eos", *weighted)} | {key: says for says, key in OTHERS}
    return [_measure(says, key) for key, says in keys.items() if key != selection.criterion]


def heading(key: str) -> str:
    """What a measure is called above a column.

    >>> heading("eos"), heading("weighted_eos_p1"), heading("mean_cosine_by_frequency")
    ('EOS', 'EOS p1', 'cosine, freq.')
    """
    if key.endswith(BY_FREQUENCY):
        return f"{heading(key.removesuffix(BY_FREQUENCY))}, freq."
    if key == "eos" or key.startswith(WEIGHTED):
        return f"EOS {key.rpartition('_')[2]}" if key != "eos" else "EOS"
    return {key: says for says, key in (ERROR, *OTHERS)}.get(key, key)


def _measure(says: str, key: str) -> Column:
    return says, lambda c: number(c.measures[key]) if key in c.measures else "-"


def number(value: float) -> str:
    """A score in few characters."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def _width(column: Column, rows: Sequence[Candidate]) -> int:
    """Of a column with the space before it."""
    says, value = column
    return GAP + max(len(says), *(len(value(row)) for row in rows))


def ratio(candidate: Candidate) -> str:
    """How many times as long as a float32 Gather its lookups take."""
    return f"{candidate.costs[RATIO]:.3g}x" if RATIO in candidate.costs else "-"


def megabytes(candidate: Candidate) -> str:
    """The size of its payload, in MB, in few characters."""
    return megabytes_of(candidate.nbytes)


def megabytes_of(nbytes: int) -> str:
    """Bytes in MB, in few characters."""
    size = nbytes / 1e6
    return f"{size:,.2f}" if size >= 1 else f"{size:.3g}"
