"""What long work shows on the terminal while it lasts, that of a compressor included."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from eigenselect.compressors.training import Update, reporter

_shown: list[Any] = []
"""The display on the terminal, while there is one: a bar inside of another is a line of its display."""

Says = Callable[[], str]
"""What is said at the end of a bar at any moment."""


@contextmanager
def reporting() -> Iterator[None]:
    """Compressors report to a bar meanwhile."""
    token = reporter.set(progress)
    try:
        yield
    finally:
        reporter.reset(token)


@contextmanager
def progress(
    label: str, *, counted: bool = True, left: Says | None = None, lines: Says | None = None
) -> Iterator[Update]:
    """A bar on stderr while that is a terminal, or in a notebook, gone when done; the update takes (done, total).

    Args:
        label: what is going on.
        counted: show done/total (things) instead of a percentage (bytes).
        left: says how long it will take; without it that follows from how much is done, where that goes on.
        lines: says what is known so far, in lines of their own.
    """
    if not (sys.stderr.isatty() or _in_notebook()):
        yield lambda done, total: None
        return
    with ExitStack() as stack:
        stack.enter_context(reporting())
        if not _shown:
            _shown.append(stack.enter_context(_display()))
            stack.callback(_shown.clear)
        display = _shown[0]
        task = display.add_task(label, total=None, amount="", left=left, lines=lines)
        if display.task_ids[0] != task:
            stack.callback(display.remove_task, task)

        def update(done: int, total: int) -> None:
            amount = f"{done}/{total}" if counted else f"{done / max(total, 1):.0%}"
            display.update(task, completed=done, total=total, amount=amount)

        yield update


def _in_notebook() -> bool:
    """Whether what is shown goes to a notebook that can show a bar."""
    if "IPython" not in sys.modules or find_spec("ipywidgets") is None:
        return False
    from rich.console import Console

    return Console().is_jupyter


def _display() -> Any:
    """Rich's, with the lines of the tasks below their bars."""
    from rich.console import RenderableType
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    from eigenselect.selector.terminal import Terminal

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            own: Says | None = task.fields["left"]
            return Text(time_left(task.time_remaining) if own is None else own())

    class Display(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                if (lines := task.fields["lines"]) is not None:
                    yield lines()

    amount = TextColumn("{task.fields[amount]}", markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(30), amount, Left())
    console = Terminal(stderr=sys.stderr.isatty(), highlight=False, markup=False, emoji=False)
    return Display(*columns, console=console, transient=True)


def time_left(seconds: float | None) -> str:
    """The time that is left, in few characters; nothing where it is not known.

    >>> time_left(None), time_left(0), time_left(7), time_left(200), time_left(9000)
    ('', '', '5 s left', '3 min left', '2.5 h left')
    """
    if not seconds:
        return ""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s left"
    return f"{round(seconds / 60)} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"
