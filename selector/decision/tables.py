"""The record of one budget over many tables: `tables.json`, beside a folder for each table with a record of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eigenselect.export import TablesReport
from eigenselect.selector.decision.escaping import in_markdown
from eigenselect.selector.decision.plain import read, read_json, written
from eigenselect.selector.decision.split import Point, Split
from eigenselect.selector.pool.budget import size

FILE = "tables.json"

VERSION = 1
"""Of what `TablesDecision` holds: one more whenever a name goes or changes its meaning."""


@dataclass(frozen=True, kw_only=True)
class TableShare:
    """What one of the tables got.

    Attributes:
        name: of the table.
        folder: of its hand-over, in that of all.
        path: where it was.
        tensor: of the file, where it is one of several.
        n: rows.
        d: columns.
        digest: of its content.
        weight: what its score counts.
        chosen: the candidate.
        nbytes: bytes of its payload.
        score: its criterion.
        run_id: the MLflow run of the table.
        curve: the candidates that no other beats at as few bytes.
    """

    name: str
    folder: str
    path: str
    tensor: str | None
    n: int
    d: int
    digest: str
    weight: float
    chosen: str
    nbytes: int
    score: float
    run_id: str
    curve: list[Point]

    @property
    def float32_bytes(self) -> int:
        """Of the table."""
        return 4 * self.n * self.d


@dataclass(frozen=True, kw_only=True)
class TablesDecision:
    """What each table got of one budget, and what was made of it.

    Attributes:
        version: of this form.
        reason: the split in a few sentences.
        budget_bytes: that all payloads may take.
        nbytes: that they take.
        float32_bytes: of all tables.
        criterion: metric key that decided.
        score: weighted sum of the tables' scores.
        bound: no split of these candidates within the budget has a better one.
        even_score: the same with the same share of its float32 bytes for each table; null where one has no candidate.
        tables: what each got.
        left_out: tables of a pattern that were left as they are, each with why.
        seed: of everything random.
        versions: of this program, Python and the libraries.
        run_id: the MLflow run of all.
        host: the model that the payloads were put into, where there is one.
    """

    version: int = VERSION
    reason: str
    budget_bytes: int
    nbytes: int
    float32_bytes: int
    criterion: str
    score: float
    bound: float
    even_score: float | None
    tables: list[TableShare]
    left_out: list[str]
    seed: int
    versions: dict[str, str]
    run_id: str
    host: TablesReport | None = None

    def text(self) -> str:
        """The content of `tables.json`."""
        return json.dumps(written(self), indent=2, allow_nan=False) + "\n"

    def metrics(self) -> dict[str, float]:
        """Those of the run of all tables."""
        return {"bytes": self.nbytes, "megabytes": self.nbytes / 1e6, "weighted_sum": self.score}

    def description(self) -> str:
        """The note of the run of all tables, a short report in Markdown."""
        lines = [f"| table | shape | chosen | payload | {self.criterion} |", "|---|---|---|---|---|"]
        for each in self.tables:
            shown = [f"{each.n:,} x {each.d}", in_markdown(each.chosen), size(each.nbytes), f"{each.score:.4f}"]
            lines.append(f"| {' | '.join([in_markdown(each.name), *shown])} |")
        return "\n".join([*lines, "", in_markdown(self.reason)])


def read_tables_decision(path: Path) -> TablesDecision:
    """Read `tables.json`, which anyone may have changed.

    Raises:
        ValueError: it cannot be read, is of another version, or is not such a record.
    """
    found = read_json(path)
    if (given := found.get("version")) != VERSION:
        raise ValueError(f"{path.name} is of version {given!r}, this program reads {VERSION}: upgrade eigenselect")
    try:
        decision: TablesDecision = read(TablesDecision, found)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from error
    return decision


def why_split(split: Split, count: int, budget: int, criterion: str, weight: float, even: float | None) -> str:
    """A split in a few sentences.

    Args:
        split: the split.
        count: of tables.
        budget: bytes that all may take.
        criterion: metric key that decided.
        weight: sum of those of the tables.
        even: the sum with an even split.
    """
    text = (
        f"The {count} tables take {split.nbytes:,} of {budget:,} bytes; the weighted mean of {criterion} is "
        f"{split.score / weight:.4f}"
    )
    text += ", and no split of these candidates within the budget has a better one"
    text += "." if split.bound == split.score else f" than {split.bound / weight:.4f}."
    if even is not None:
        text += f" With the same share of its float32 bytes for each it would be {even / weight:.4f}."
    return text


def even_score(curves: Sequence[tuple[float, Sequence[Point], int]], budget: int) -> float | None:
    """The weighted sum where each table may take the same share of its float32 bytes; None where one has nothing.

    Args:
        curves: weight, points and float32 bytes of each table.
        budget: bytes that all may take.
    """
    whole = sum(nbytes for _, _, nbytes in curves)
    total = 0.0
    for weight, points, nbytes in curves:
        within = [point for point in points if point.nbytes * whole <= budget * nbytes]
        if not within:
            return None
        total += weight * within[-1].score
    return total
