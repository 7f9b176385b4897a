"""One thread for sums, so that no sum depends on how many it was split over; and for what is made once.

Libraries have one number of threads for the whole process. Work that runs side by side therefore shares one limit,
which the first to come sets and the last to go lifts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, wraps
from threading import Lock, RLock
from typing import Any

from threadpoolctl import LibController, ThreadpoolController


class _Shared:
    """A limit of the whole process that several threads hold at a time, each by `with limit():`."""

    def __init__(self, limited: Callable[[], AbstractContextManager[object]]) -> None:
        self._limited, self._lock, self._held, self._holders = limited, Lock(), ExitStack(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._holders:
                self._held.enter_context(self._limited())
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._held.close()


@contextmanager
def _blas_limited() -> Iterator[None]:
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    before = [library.num_threads for library in libraries]
    for library in libraries:
        _set_threads(library, 1)
    try:
        yield
    finally:
        for library, count in zip(libraries, before, strict=True):
            _set_threads(library, count)


def _set_threads(library: LibController, count: int) -> None:
    # `threadpool_limits` will not do from threadpoolctl 3.8 on: it sets nothing while another thread has a limit of its
    # own, and lifts a limit in the thread that set it only, which need not be the last one to go.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


@contextmanager
def _torch_limited() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


one_blas_thread = _Shared(_blas_limited)
"""`with one_blas_thread():` numpy's and scipy's products run on one thread."""

one_torch_thread = _Shared(_torch_limited)
"""`with one_torch_thread():` torch runs on one thread."""

_MAKING = RLock()


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """`functools.cache` that no two threads are in at once, for what makes functions that numba compiles.

    Where several threads load one such function from where it is kept, each gets one of its own, and numba may have
    lost what it needs to return arrays: they then fail with "'descr' is NULL".
    """
    made = cache(make)

    @wraps(make)
    def found(*given: Any) -> Any:
        with _MAKING:
            return made(*given)

    return found
