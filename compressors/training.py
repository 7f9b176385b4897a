"""What methods that train need: torch, a device, a generator, a deadline, and someone to report to.

Only such a method imports torch, and only while it compresses: choosing and exporting a table needs none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from eigenselect.compressors import device as _device

Update = Callable[[int, int], None]
"""Takes how much is done and how much there is to do."""


def load_torch() -> None:
    """Import torch, and what it imports when its first optimizer is made: seconds that no time limit should count."""
    import torch

    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def device() -> str:
    """The device that is used; else `cuda` where torch has such a device, else `cpu`."""
    import torch

    if (used := _device.used()) is not None:
        return used
    return "cuda" if torch.cuda.is_available() else "cpu"


def generator(rng: np.random.Generator) -> Any:
    """A torch.Generator on the CPU whose seed is drawn from `rng`; draws from it are the same on every device."""
    import torch

    return torch.Generator().manual_seed(int(rng.integers(1 << 63)))


class Deadline:
    """A moment `seconds` from now; None is never. Made once what the work needs is imported, asked after each step."""

    def __init__(self, seconds: float | None) -> None:
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self._end


@contextmanager
def _unreported(label: str) -> Iterator[Update]:
    yield lambda done, total: None


reporter: ContextVar[Callable[[str], AbstractContextManager[Update]]] = ContextVar("reporter", default=_unreported)
"""Takes the label of long work and gives an `Update` for as long as it lasts; the default shows nothing."""


def reported(label: str) -> AbstractContextManager[Update]:
    """Work that is reported under `label` to whoever is set as `reporter`.

    >>> from contextlib import nullcontext
    >>> token = reporter.set(lambda label: nullcontext(lambda done, total: print(f"{label}: {done} of {total}")))
    >>> with reported("training") as update:
    ...     update(3, 8)
    training: 3 of 8
    >>> reporter.reset(token)
    """
    return reporter.get()(label)


_once: list[float] = []
"""Seconds of each work that was `reported_once`."""


@contextmanager
def reported_once(label: str) -> Iterator[Update]:
    """Work that a machine does once, which says nothing of how long other work will take: `spent_once` counts it."""
    began = time.monotonic()
    try:
        with reported(label) as update:
            yield update
    finally:
        _once.append(time.monotonic() - began)


def spent_once() -> float:
    """Seconds that this process has spent so."""
    return sum(_once)
