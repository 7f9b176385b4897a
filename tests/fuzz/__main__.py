"""Many changed files, and every reader of the project on them.

    python -m tests.fuzz [number=100000] [processes=2] [target=NAME] [seed=0]

Input i of a target is the same whenever it is made. Inputs are read in processes of 4 GB of memory at most: one that
takes an input more than 5 seconds, or that dies, is replaced, and the input is a failure as an unexpected exception is.
What fails is kept under `out/fuzz`. Prints the inputs, those refused and the failures of each target; exits with 1 if
there is a failure.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.targets import TARGETS, Files, Target, clear

SECONDS = 5
"""Of processor time, for an input."""

PATIENCE = 120
"""Seconds by the clock: what waits for something takes no processor time."""

MEMORY = 4 << 30

BATCH = 200

KEPT = Path("out/fuzz")

FORK = get_context("fork")


class Batch(NamedTuple):
    """Inputs of a target from `first` on."""

    target: int
    first: int
    after: int


def made(target: Target, seeds: list[Files], number: int, seed: int) -> Files:
    """An input of a target."""
    random = Random(f"{seed} {target.name} {number}")
    return target.changed(random.choice(seeds), random)


def work(given: Connection, seeds: list[list[Files]], seed: int) -> None:
    """Read the inputs of batches; for each input two answers: that it is begun, and what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123
    os.dup2(sys.stderr.fileno(), 2)  # what libraries in C print
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="eigenselect-fuzz-") as place:
        folder = Path(place)
        while (batch := given.recv()) is not None:
            for number in range(batch.first, batch.after):
                given.send(("begun", number, None))
                files = made(target := TARGETS[batch.target], seeds[batch.target], number, seed)
                try:
                    given.send(("read" if target.try_on(files, folder) else "refused", number, None))
                except BaseException:
                    given.send(("failed", number, traceback.format_exc()))
                clear(folder)
            given.send(("done", batch.after, None))


class Worker:
    """A process, with the batch that it is at."""

    def __init__(self, seeds: list[list[Files]], seed: int) -> None:
        self.connection, other = FORK.Pipe()
        self.process: BaseProcess = FORK.Process(target=work, args=(other, seeds, seed), daemon=True)
        self.process.start()
        other.close()
        self.batch: Batch | None = None
        self.number, self.since, self.used = 0, time.monotonic(), 0.0

    def give(self, batch: Batch) -> None:
        """Have it read some inputs."""
        self.batch = batch
        self.connection.send(batch)

    def begin(self, number: int) -> None:
        """Remember when an input was begun."""
        self.number, self.since, self.used = number, time.monotonic(), self.time()

    def time(self) -> float:
        """Processor seconds so far."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def late(self) -> bool:
        """Whether an input takes too long."""
        waited = time.monotonic() - self.since
        return waited > PATIENCE or (waited > SECONDS and self.time() - self.used > SECONDS)

    def end(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Counts(NamedTuple):
    """Of a target."""

    tried: int = 0
    refused: int = 0
    failed: int = 0


def fuzz(number: int, processes: int, only: str | None, seed: int) -> dict[str, Counts]:
    """The counts of each target, of about `number` inputs in all."""
    chosen = [i for i, target in enumerate(TARGETS) if only in (None, target.name)]
    total = sum(TARGETS[i].share for i in chosen)
    with tempfile.TemporaryDirectory() as place:
        seeds: list[list[Files]] = []
        for i, target in enumerate(TARGETS):
            folder = Path(place) / str(i)
            folder.mkdir()
            seeds.append(target.seeds(folder) if i in chosen else [])
    each = {i: -(-int(number * TARGETS[i].share) // int(max(1, total))) for i in chosen}
    waiting = [
        Batch(i, first, min(first + BATCH, count)) for i, count in each.items() for first in range(0, count, BATCH)
    ]
    Random(seed).shuffle(waiting)
    counts = {TARGETS[i].name: Counts() for i in chosen}
    workers = [Worker(seeds, seed) for _ in range(processes)]
    for worker in workers:
        if waiting:
            worker.give(waiting.pop())

    def failure(worker: Worker, says: str) -> None:
        assert worker.batch is not None
        target = TARGETS[worker.batch.target]
        counts[target.name] = counts[target.name]._replace(failed=counts[target.name].failed + 1)
        _keep(target, made(target, seeds[worker.batch.target], worker.number, seed), worker.number, says)

    def replaced(worker: Worker, says: str) -> None:
        """Go on behind the input at which a process ended or was ended."""
        batch = worker.batch
        assert batch is not None
        name = TARGETS[batch.target].name
        counts[name] = counts[name]._replace(tried=counts[name].tried + 1)
        failure(worker, says)
        worker.end()
        workers[workers.index(worker)] = fresh = Worker(seeds, seed)
        fresh.give(batch._replace(first=worker.number + 1))

    begun = time.monotonic()
    while any(worker.batch for worker in workers):
        ready: list[Any] = wait([worker.connection for worker in workers if worker.batch], 1)
        for worker in [*workers]:
            if worker.connection not in ready:
                if worker.batch and worker.late():
                    replaced(worker, f"more than {SECONDS} s")
                continue
            try:
                what, at, says = worker.connection.recv()
            except EOFError:
                worker.process.join()
                replaced(worker, f"the process ended with {worker.process.exitcode}")
                continue
            assert worker.batch is not None
            name = TARGETS[worker.batch.target].name
            if what == "begun":
                worker.begin(at)
            elif what == "done":
                worker.batch = None
                if waiting:
                    worker.give(waiting.pop())
                    if len(waiting) % 50 == 0 and sys.stderr.isatty():
                        print(f"{len(waiting)} batches left, {time.monotonic() - begun:.0f} s", file=sys.stderr)
            else:
                found = counts[name]
                counts[name] = found._replace(tried=found.tried + 1, refused=found.refused + (what == "refused"))
                if what == "failed":
                    failure(worker, says)
    for worker in workers:
        worker.end()
    return counts


def _keep(target: Target, files: Files, number: int, says: str) -> None:
    folder = KEPT / target.name.replace(" ", "-") / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "failure.txt").write_text(says)
    print(f"{target.name} {number}: {says.strip().splitlines()[-1][:200]}", file=sys.stderr, flush=True)


def main(words: list[str]) -> int:
    """Print a table of counts; 1 if anything failed."""
    given = {"number": "100000", "processes": "2", "seed": "0"} | dict(word.split("=", 1) for word in words)
    counts = fuzz(int(given["number"]), int(given["processes"]), given.get("target"), int(given["seed"]))
    total = Counts(*map(sum, zip(*counts.values(), strict=True)))
    print("| reader | inputs | of them refused | failures |\n|---|---:|---:|---:|")
    for name, found in (*counts.items(), ("all", total)):
        print(f"| {name} | {found.tried:,} | {found.refused:,} | {found.failed} |")
    return int(total.failed > 0)


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
