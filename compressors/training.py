"""What methods that train need: a device, a generator, a sample, one thread, a deadline, and a bar.

Only such a method imports torch, and only while it compresses: choosing and exporting a table needs none.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from compressors.table import Table

Update = Callable[[int, int], None]

_shown: list[Any] = []
"""The display on the terminal, while there is one: a bar inside of another is a line of its display."""


def device() -> str:
    """`cuda` where torch has such a device, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def generator(rng: np.random.Generator) -> Any:
    """A torch.Generator on the CPU whose seed is drawn from `rng`; draws from it are the same on every device."""
    import torch

    return torch.Generator().manual_seed(int(rng.integers(1 << 63)))


def sample(table: Table, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """`count` random rows of a table in their order, or all where it has no more."""
    rows = np.sort(rng.permutation(table.n)[:count])
    spans = ((span, *np.searchsorted(rows, (span.start, span.stop))) for span in table.spans())
    return np.concatenate([table.read(span)[rows[i:j] - span.start] for span, i, j in spans]).astype(np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch sums on one thread meanwhile, so that no sum depends on how many it was split over."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_time_limit(method: str, time_limit: float | None) -> None:
    """Raise a ValueError unless `time_limit` is None or a number of seconds of at least 0."""
    if time_limit is not None and (
        isinstance(time_limit, bool) or not isinstance(time_limit, int | float) or not time_limit >= 0
    ):
        raise ValueError(f"{method} time_limit = {time_limit!r}: must be seconds of at least 0, or null for no limit")


class Deadline:
    """A moment `seconds` from now; None is never."""

    def __init__(self, seconds: float | None) -> None:
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self._end


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
