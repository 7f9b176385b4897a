"""Candidates of one search, or of a huge table blocks of rows, made by the processes of a Ray cluster.

They map the files that those of one machine map: the machines of a cluster need one folder for temporary files at the
same path (`TMPDIR`), and the table at the path that it was read from. `RAY_ADDRESS` says which cluster it is; without
it one is started on this machine, and stopped in the end.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eigenselect.compressors.data import table as tables
from eigenselect.compressors.threads import one_blas_thread
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.sharing import packed, packed_work, read_once, unpacked
from eigenselect.selector.run.trial import Made, Trial, failed, make
from eigenselect.selector.run.workers import TRIES, bare, forget_foreign

BY_ROWS = 1 << 32
"""Bytes of a table in float32 from which its rows are spread over the processes, and not candidates."""


def check_ray() -> None:
    """Raise a ValueError unless Ray is installed."""
    if find_spec("ray") is None:
        raise ValueError("engine = 'ray': the package is not installed: pip install 'eigenselect[ray]'")


def in_ray(search: Search, trials: Iterable[Trial]) -> Generator[Made]:
    """Every trial as `make` makes it, in their order, by `search.workers` processes at a time.

    Each of them makes candidates; of a table from `BY_ROWS` on candidates are made one after the other, and each of the
    processes works on some of the rows.
    """
    import ray

    mine = not ray.is_initialized()
    if mine:
        local = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": search.workers}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", **local)
    try:
        with tempfile.TemporaryDirectory(prefix="eigenselect-") as name:
            by_rows = 4 * search.table.n * search.table.d >= BY_ROWS
            yield from (_by_rows if by_rows else _by_candidates)(search, trials, Path(name))
    finally:
        if mine:
            ray.shutdown()


def _by_candidates(search: Search, trials: Iterable[Trial], folder: Path) -> Generator[Made]:
    import ray
    from ray.util import ActorPool

    given = folder / "search"
    given.write_bytes(packed(bare(search), folder / "arrays"))
    worker = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=TRIES - 1)(_Worker)
    pool = ActorPool([worker.remote(given) for _ in range(search.workers)])
    asked = [*trials]
    for place, trial in enumerate(asked):
        pool.submit(lambda actor, given: actor.made.remote(*given), (trial, folder / str(place)))
    for place, trial in enumerate(asked):
        try:
            made: Made = unpacked(pool.get_next())
        except ray.exceptions.RayError as error:
            made = Made(failed(trial, f"its process ended {TRIES} times: {error}"), time.time(), 0)
        shutil.rmtree(folder / str(place), ignore_errors=True)
        yield made


def _by_rows(search: Search, trials: Iterable[Trial], folder: Path) -> Generator[Made]:
    rows = _Rows(search, folder)
    for trial in trials:
        with tables.sharded_by(rows):
            made = make(search, trial)
        yield made


class _Rows:
    """`Table.shards` by the processes of the cluster: a block of rows each, of which the results come back in order.

    One that dies is replaced, and its block is worked on again.
    """

    def __init__(self, search: Search, folder: Path) -> None:
        import ray

        self._shard, self._pickler = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_shard), ray.cloudpickle.CloudPickler
        self._search, self._folder, self._count = search, folder, 0
        self._kept: dict[int, tuple[int, Path]] = {}

    def __call__(self, table: tables.Table, work: Callable[[slice], Any]) -> Iterator[Any]:
        import ray

        folder = self._next()
        given = folder.with_suffix(".work")
        given.write_bytes(packed_work(work, folder, self._known(), self._pickler))
        waiting = deque[Any]()
        try:
            for span in table.spans():
                waiting.append(self._shard.remote(given, span))
                if len(waiting) > self._search.workers:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            for each in waiting:
                ray.cancel(each)
            given.unlink()
            shutil.rmtree(folder, ignore_errors=True)

    def _known(self) -> list[tuple[object, Path]]:
        """The table, and that with weights, each with its file; written again once they know more of themselves."""
        reference = vars(self._search).get("reference")
        known = [self._search.table, None if reference is None else reference.weighted]
        return [(each, self._file_of(each)) for each in known if each is not None]

    def _file_of(self, table: tables.Table) -> Path:
        facts, path = self._kept.get(id(table), (0, Path()))
        if facts != len(vars(table)):
            folder = self._next()
            path = folder.with_suffix(".table")
            path.write_bytes(packed_work(table, folder, [], self._pickler))
            self._kept[id(table)] = len(vars(table)), path
        return path

    def _next(self) -> Path:
        self._count += 1
        return self._folder / str(self._count)


def _shard(given: Path, rows: slice) -> bytes:
    """What the work makes of a block, packed: arrays in Ray's own memory could not be added to."""
    forget_foreign()
    with one_blas_thread():
        return pickle.dumps(read_once(given)(rows))


def _result(reference: Any) -> Any:
    """The result of a block; what its work raised is raised here."""
    import ray

    try:
        return unpacked(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


class _Worker:
    """A process of the cluster."""

    def __init__(self, given: Path) -> None:
        forget_foreign()
        tables.WORKERS = 1  # Ray counts one processor for each
        self._search: Search = unpacked(given.read_bytes())

    def made(self, trial: Trial, folder: Path) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        return packed(make(self._search, trial), folder)
