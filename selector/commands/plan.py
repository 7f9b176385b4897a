"""The command: `eigenselect plan table.path=PATH budget=16MB [json=FILE]`. What would a selection cost?

Nothing is compressed but samples of rows, nothing is logged, and nothing is written but `json`.

Exit codes, beside those of every command: 3 nothing fits the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from eigenselect.selector.commands.jobs import Composed
from eigenselect.selector.commands.select import attempt, execute, selections
from eigenselect.selector.commands.words import say, write_report
from eigenselect.selector.run.settings import PlanSettings
from eigenselect.selector.terminal import terminal

if TYPE_CHECKING:
    from eigenselect.selector.run.job import Assignment
    from eigenselect.selector.run.plan import Plan


def _run(job: Composed) -> int:
    try:
        settings = PlanSettings.of(job.config)
    except ValueError as error:
        say(error)
        return 2
    # Imported here: they take seconds, and `--help` or a mistake in a setting needs none of them.
    from eigenselect.selector.decision.selection import NothingFitsError
    from eigenselect.selector.run.announcement import introduce, outlook
    from eigenselect.selector.run.job import assigned
    from eigenselect.selector.run.plan import plan

    def run(given: Assignment, console: Console, *, sweep: bool) -> Plan:
        introduce(given, Path(given.settings.table.path).name, console)
        found = plan(given)
        outlook(found, console)
        return found

    console = terminal(stderr=settings.json == "-")
    code = attempt(job, lambda given: assigned(given.selection), run, settings, {NothingFitsError: 3}, console)
    if code:
        return code
    _, found = selections[-1]
    try:
        write_report(settings.json, {"table": settings.selection.table.path, **asdict(found)})
    except ValueError as error:
        say(error)
        return 2
    return 0


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect plan words`."""
    return execute("plan", _run, words)
