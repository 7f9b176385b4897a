"""A process that is killed at a line of its work, and another that comes after it."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

KILLED = 9


def killed_at_lines(work: Callable[[], object], *modules: ModuleType, every: int = 1) -> Iterator[int]:
    """Do `work` in a child that ends without cleaning up before its first line in `modules`, and so on.

    Each time the number of lines that were done is given, 0, `every`, twice that; the last child has done all of them.
    """
    files = {module.__file__ for module in modules}
    for lines in itertools.count(step=every):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child does not use
            child = os.fork()
        if not child:
            _die_after(lines, files, work)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, KILLED), f"the child that was to be killed after {lines} lines failed"
        yield lines
        if code == 0:
            return


def _die_after(lines: int, files: set[str | None], work: Callable[[], object]) -> None:
    done = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal done
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            if done == lines:
                os._exit(KILLED)
            done += 1
        return trace

    try:
        sys.settrace(trace)
        work()
        os._exit(0)
    finally:
        os._exit(1)
