"""A job of a sweep in a process of its own: what a launcher waits for, and what runs in that process.

The process ends, as by SIGTERM, with the one that waits for it, whatever becomes of that.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eigenselect.compressors.data import table as tables
from eigenselect.selector import terminal
from eigenselect.selector.commands.composed import Composed, in_hand, selections
from eigenselect.selector.commands.words import JOB

MOMENT = 0.1
"""Seconds between two looks at a process."""

FOUND = "found"
"""The file of an answer."""


@dataclass(frozen=True)
class Task:
    """A job as a process is given it.

    Attributes:
        run: what the command does with a job: its exit code.
        job: the job.
        width: characters of a line that it prints.
        folder: that it works in.
        variables: of the environment that it must have.
        threads: blocks of rows that it works on at a time; None is as many as its machine has processors for.
    """

    run: Callable[[Composed], int]
    job: Composed
    width: int
    folder: str
    variables: dict[str, str]
    threads: int | None = None


@dataclass(frozen=True)
class Done:
    """What became of a task.

    Attributes:
        code: its exit code; 128 and the signal where a signal ended it.
        out: what it printed on stdout.
        err: what it printed on stderr.
        found: what the job adds to `selections`.
        lost: how its process ended, where it did so without an answer.
    """

    code: int
    out: str = ""
    err: str = ""
    found: Sequence[tuple[str, Any]] = ()
    lost: str | None = None


def perform(task: Task, stop: threading.Event | None = None) -> Done:
    """Run a task in a process of its own, and wait for it; once there is `stop`, it is stopped."""
    stop = stop or threading.Event()
    with tempfile.TemporaryDirectory(prefix="eigenselect-") as name:
        folder = Path(name)
        # -P: no module is looked for in the working folder
        command = [sys.executable, "-P", "-m", "eigenselect", JOB, name]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=task.folder,
                env={**os.environ, **task.variables},
                start_new_session=True,  # Ctrl-C is for the one that waits, which stops it
            )
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has died, which is seen below
            try:
                process.stdin.write(pickle.dumps(task))
                process.stdin.flush()
                while process.poll() is None and not stop.wait(MOMENT):
                    pass
            finally:
                process.stdin.close()
                code = process.wait()
        out_text, err_text = ((folder / each).read_text("utf-8", "replace") for each in ("out", "err"))
        answer = folder / FOUND
        if answer.exists():
            return Done(code, out_text, err_text, pickle.loads(answer.read_bytes()))
        how = f"signal {-code}: it may take more memory than there is" if code < 0 else f"code {code}"
        return Done(128 - code if code < 0 else code, out_text, err_text, lost=f"its process ended with {how}")


def main(words: Sequence[str]) -> int:
    """The exit code of the task that comes through stdin; `words` are the folder for its answer."""
    (folder,) = words
    task: Task = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    terminal.LOG_WIDTH = task.width
    if task.threads is not None:
        tables.WORKERS = task.threads
    with in_hand(task.job) as job:
        code = task.run(job)
    (Path(folder) / FOUND).write_bytes(pickle.dumps(selections))
    return code


def _end_with_stdin() -> None:
    """Nothing more comes through stdin: its end is that of the process that waits for this one."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
