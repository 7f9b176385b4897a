"""Candidates of one search, made by several processes of this machine.

They share the table by memory map, and what is known of it: sums over its rows are made once. Only the process that
started them logs. One that dies is replaced, and what it was at is done once more.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from eigenselect.compressors.data import table as tables
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.sharing import packed, unpacked
from eigenselect.selector.run.trial import Made, Trial, failed, make

TRIES = 2
"""How often a candidate is begun whose process dies at it."""

STARTED = get_context("spawn")
"""A fork would take locks and threads of the libraries with it."""

FOREIGN = ("MLFLOW_",)
"""Starts of variables that a process does without: it logs nothing."""


@dataclass
class _Worker:
    """A process, and what it is at."""

    process: SpawnProcess
    pipe: Connection
    place: int

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def in_processes(search: Search, trials: Iterable[Trial]) -> Generator[Made]:
    """Every trial as `make` makes it, in their order, `search.workers` at a time."""
    with tempfile.TemporaryDirectory(prefix="eigenselect-") as name:
        pool = _Pool(search, trials, Path(name))
        try:
            yield from pool.results()
        finally:
            pool.end()


class _Pool:
    def __init__(self, search: Search, trials: Iterable[Trial], folder: Path) -> None:
        self._search, self._count, self._folder = search, search.workers, folder
        self._given = folder / "search"
        self._next, self._begun = enumerate(trials), dict[int, Trial]()
        self._again, self._deaths = deque[int](), dict[int, int]()
        self._workers, self._done = list[_Worker](), dict[int, Made]()

    def results(self) -> Generator[Made]:
        place = 0
        self._fill()
        while self._workers or place in self._done:
            if place in self._done:
                yield self._done.pop(place)
                place += 1
            else:
                self._turn()

    def end(self) -> None:
        for worker in self._workers:
            worker.end()

    def _fill(self) -> None:
        begun = []
        while len(self._workers) < self._count and (place := self._take()) is not None:
            begun.append(self._started(place))
            self._workers.append(begun[-1])
        if begun and not self._given.exists():  # made while the processes start
            self._given.write_bytes(packed(bare(self._search), self._folder / "arrays"))
        for worker in begun:
            self._send(worker)

    def _take(self) -> int | None:
        """The place of the next trial, if there is one."""
        if self._again:
            return self._again.popleft()
        place, trial = next(self._next, (None, None))
        if place is not None and trial is not None:
            self._begun[place] = trial
        return place

    def _started(self, place: int) -> _Worker:
        ours, theirs = STARTED.Pipe()
        threads = max(1, tables.WORKERS // self._count)
        process = STARTED.Process(target=_serve, args=(theirs, self._given, threads), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, place)

    def _send(self, worker: _Worker) -> None:
        folder = self._folder / str(worker.place)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # it has died, which is seen when its answer is awaited
            worker.pipe.send((self._begun[worker.place], folder))

    def _turn(self) -> None:
        """Wait for what is done first, and give its process the next trial."""
        ready = wait([worker.pipe for worker in self._workers])
        for worker in [worker for worker in self._workers if worker.pipe in ready]:
            try:
                self._done[worker.place] = unpacked(worker.pipe.recv_bytes())
            except (EOFError, OSError):
                self._died(worker)
                continue
            # What is mapped stays readable, and is gone with the last who reads it.
            shutil.rmtree(self._folder / str(worker.place), ignore_errors=True)
            place = self._take()
            if place is None:
                self._workers.remove(worker)
                worker.end()
            else:
                worker.place = place
                self._send(worker)
        self._fill()

    def _died(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.join()
        worker.pipe.close()
        place, code = worker.place, worker.process.exitcode
        self._deaths[place] = self._deaths.get(place, 0) + 1
        if self._deaths[place] < TRIES:
            self._again.append(place)
            return
        how = f"signal {-code}" if code is not None and code < 0 else f"code {code}"
        reason = f"its process ended {TRIES} times with {how}: it may take more memory than there is; workers=1 tells"
        self._done[place] = Made(failed(self._begun[place], reason), time.time(), 0)


def bare(search: Search) -> Search:
    """What of a search a process needs, with the sums over the table's rows that most candidates ask for."""
    given = {field.name: getattr(search, field.name) for field in fields(Search)}
    lookups = None if search.lookups is None else replace(search.lookups)  # without the sessions that it has
    found = Search(**given | {"lookups": lookups, "compressors": []})
    _ = found.table.spectrum, found.table.histogram, found.reference  # kept with it
    return found


def forget_foreign() -> None:
    """Remove from this process the variables that it does without."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]


def _serve(pipe: Connection, given: Path, threads: int) -> None:
    """Make the trials that come through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one hears it
    forget_foreign()
    tables.WORKERS = threads
    search: Search | None = None
    with suppress(EOFError, OSError):
        while True:
            trial, folder = pipe.recv()
            if search is None:  # it is there once a trial comes
                search = unpacked(given.read_bytes())
            pipe.send_bytes(packed(make(search, trial), folder))
