"""A bar on the terminal that shows how far long work is, that of a compressor included."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from eigenselect.compressors.training import Update, reporter

_shown: list[Any] = []
"""The display on the terminal, while there is one: a bar inside of another is a line of its display."""


@contextmanager
def reporting() -> Iterator[None]:
    """Compressors report to a bar meanwhile."""
    token = reporter.set(progress)
    try:
        yield
    finally:
        reporter.reset(token)


@contextmanager
def progress(label: str, *, counted: bool = True) -> Iterator[Update]:
    """A bar on stderr while that is a terminal, gone when done; the update takes (done, total).

    Args:
        label: what is going on.
        counted: show done/total (things) instead of a percentage (bytes).
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with ExitStack() as stack:
        stack.enter_context(reporting())
        if not _shown:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"))
            display = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            _shown.append(stack.enter_context(display))
            stack.callback(_shown.clear)
        display = _shown[0]
        task = display.add_task(label, total=None, amount="")
        if display.task_ids[0] != task:
            stack.callback(display.remove_task, task)

        def update(done: int, total: int) -> None:
            amount = f"{done}/{total}" if counted else f"{done / max(total, 1):.0%}"
            display.update(task, completed=done, total=total, amount=amount)

        yield update
