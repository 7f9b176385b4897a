"""Candidates of one search, made by the processes of a Ray cluster.

They map the files that those of one machine map: the machines of a cluster need one folder for temporary files at the
same path (`TMPDIR`), and the table at the path that it was read from. `RAY_ADDRESS` says which cluster it is; without
it one is started on this machine, and stopped in the end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eigenselect.compressors.data import table as tables
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.sharing import packed, unpacked
from eigenselect.selector.run.trial import Made, Trial, failed, make
from eigenselect.selector.run.workers import TRIES, bare


def check_ray() -> None:
    """Raise a ValueError unless Ray is installed."""
    if find_spec("ray") is None:
        raise ValueError("engine = 'ray': the package is not installed: pip install 'eigenselect[ray]'")


def in_ray(search: Search, trials: Iterable[Trial]) -> Generator[Made]:
    """Every trial as `make` makes it, in their order, `search.workers` at a time."""
    import ray
    from ray.util import ActorPool

    mine = not ray.is_initialized()
    if mine:
        local = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": search.workers}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", **local)
    try:
        with tempfile.TemporaryDirectory(prefix="eigenselect-") as name:
            folder = Path(name)
            given = packed(bare(search), folder / "arrays")
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
    finally:
        if mine:
            ray.shutdown()


class _Worker:
    """A process of the cluster."""

    def __init__(self, given: bytes) -> None:
        tables.WORKERS = 1  # Ray counts one processor for each
        self._search: Search = unpacked(given)

    def made(self, trial: Trial, folder: Path) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        return packed(make(self._search, trial), folder)
