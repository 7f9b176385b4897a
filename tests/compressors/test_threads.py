"""One thread for sums: shared by work that runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Barrier, Event
from time import sleep

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from eigenselect.compressors import Compressor, EmbeddingTable, Identity, Payload
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.threads import once, one_torch_thread

TABLE = EmbeddingTable(np.ones((4, 2), np.float32))


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@dataclass(frozen=True, eq=False)
class Waiting(Compressor):
    """Float32, once it may go on."""

    entered: Event
    may_go_on: Event

    @property
    def name(self) -> str:
        return "waiting"

    def nbytes(self, n: int, d: int) -> int:
        return Identity().nbytes(n, d)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        self.entered.set()
        assert self.may_go_on.wait(30)
        return Identity().compress(table, rng)


def test_compression_that_ends_first_leaves_the_others_on_one_thread() -> None:
    first, second = Waiting(Event(), Event()), Waiting(Event(), Event())
    with threadpool_limits(limits=2, user_api="blas"), ThreadPoolExecutor(2) as pool:
        running = []
        for method in (first, second):
            running.append(pool.submit(method.compress, TABLE, np.random.default_rng(0)))
            assert method.entered.wait(30)
        first.may_go_on.set()
        running[0].result()
        assert blas_threads() == {1}
        second.may_go_on.set()
        running[1].result()
        assert blas_threads() == {2}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_torch_stays_on_one_thread_until_the_last_one_leaves() -> None:
    with torch_threads(3):
        first, second = one_torch_thread(), one_torch_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_num_threads() == 1
        second.__exit__(None, None, None)
        assert torch.get_num_threads() == 3


def test_threads_are_given_back_after_an_error() -> None:
    with torch_threads(3):
        with pytest.raises(KeyError), one_torch_thread():
            raise KeyError
        assert torch.get_num_threads() == 3


def test_what_is_made_once_is_made_by_one_of_the_threads_that_ask_at_once() -> None:
    made: list[int] = []
    together = Barrier(4)

    @once
    def make(width: int) -> object:
        made.append(width)
        sleep(0.01)
        return object()

    def ask(_: int) -> object:
        together.wait()
        return make(3)

    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(ask, range(4))]
    assert made == [3] and len({id(each) for each in found}) == 1
