"""The command: `eigenselect plan table.path=PATH budget=16MB [json=FILE]`. What would a selection cost?

Nothing is compressed but samples of rows, nothing is logged, and nothing is written but `json`.

Exit codes, beside those of every command: 3 nothing fits the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from eigenselect.selector.commands.composed import Composed, selections
from eigenselect.selector.commands.select import attempt, execute
from eigenselect.selector.commands.words import say, write_report
from eigenselect.selector.run.settings import ManySettings, PlanSettings
from eigenselect.selector.terminal import terminal


def _run(job: Composed) -> int:
    try:
        settings = PlanSettings.of(job.config)
    except ValueError as error:
        say(error)
        return 2
    # Imported here: they take seconds, and `--help` or a mistake in a setting needs none of them.
    from eigenselect.selector.decision.selection import NothingFitsError

    console = terminal(stderr=settings.json == "-")
    many = isinstance(settings.selection, ManySettings)
    code = attempt(job, *(_many() if many else _one()), settings.selection, {NothingFitsError: 3}, console)
    if code:
        return code
    _, found = selections[-1]
    try:
        write_report(settings.json, found)
    except ValueError as error:
        say(error)
        return 2
    return 0


def _one() -> tuple[Callable[[Any], Any], Callable[..., dict[str, Any]]]:
    """What reads the settings of a selection, and what prints its plan and gives that as a report."""
    from eigenselect.selector.run.announcement import introduce, outlook
    from eigenselect.selector.run.job import Assignment, assigned
    from eigenselect.selector.run.plan import plan

    def run(given: Assignment, console: Console, *, sweep: bool) -> dict[str, Any]:
        path = given.settings.table.path
        introduce(given, Path(path).name, console)
        outlook(found := plan(given), console)
        return {"table": path, **asdict(found)}

    return assigned, run


def _many() -> tuple[Callable[[Any], Any], Callable[..., dict[str, Any]]]:
    """The same of a selection for many tables."""
    from eigenselect.selector.run.announcement import introduce_tables, outlook_of_tables
    from eigenselect.selector.run.plan import plan_tables
    from eigenselect.selector.run.tables.job import TablesAssignment, assigned

    def run(given: TablesAssignment, console: Console, *, sweep: bool) -> dict[str, Any]:
        introduce_tables(given, console)
        outlook_of_tables(found := plan_tables(given), console)
        return asdict(found)

    return assigned, run


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect plan words`."""
    return execute("plan", _run, words)
