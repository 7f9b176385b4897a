"""What was found of a hand-over, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid

from eigenselect.selector.checking.drift import Drift
from eigenselect.selector.checking.examination import Examination

AGAINST = {
    "recorded": "its own table, recorded",
    "deployed": "the newer table",
    "recompressed": "the newer table, compressed again",
}
"""What the scores of `Drift` are against."""


def show(examination: Examination, console: Console) -> None:
    """Print the checks and the verdict."""
    grid = Grid(box=None, pad_edge=False)
    for heading in ("check", "status", ""):
        grid.add_column(heading)
    for check in examination.checks:
        grid.add_row(check.name, check.status, check.says)
    console.print(grid)
    if examination.drift is not None:
        _show_drift(examination.drift, console)


def _show_drift(found: Drift, console: Console) -> None:
    grid = Grid(box=None, pad_edge=False)
    for heading in ("against", "EOS", "rel. error"):
        grid.add_column(heading)
    for key, against in AGAINST.items():
        values = (found.eos[key], found.reconstruction_error_relative[key])
        grid.add_row(against, *("-" if value is None else f"{value:.4f}" for value in values))
    console.print()
    console.print(grid)
    rows = found.rows
    paired = ", row i for id i: the tokens of one of the tables are not known"
    if rows["by"] == "token":
        paired = f" by token; {rows['new']:,} tokens are new, {rows['gone']:,} gone, {rows['moved']:,} moved"
    console.print(f"{rows['compared']:,} rows compared{paired}.")
    for note in found.notes:
        console.print(f"Note: {note}.")
    console.print(f"{found.verdict}: {found.reason}.")
