"""Loops that numba compiles, once for each processor, and keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from eigenselect.compressors.training import reported_once
from eigenselect.compressors.whole import locked


class _Reported(event.Listener):  # type: ignore[misc]  # numba has no types
    """Reports a compilation for as long as it lasts, with those inside of it."""

    def __init__(self) -> None:
        self._depth, self._shown = 0, ExitStack()

    def on_start(self, _: Any) -> None:
        if not self._depth:
            self._shown.enter_context(reported_once("compiling (once)"))
        self._depth += 1

    def on_end(self, _: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self._shown.close()


def inlined(function: Callable[..., Any]) -> Any:
    """A part of functions that are `compiled`, compiled with each of them."""
    return numba.njit(nogil=True, boundscheck=False)(function)


def compiled(signature: str, fastmath: Any = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile the function for the types of `signature`, unless that was done before and kept.

    It is kept beside its file, or where that is read-only in the user's cache folder (`XDG_CACHE_HOME` or what the
    system has), or in `NUMBA_CACHE_DIR`; where nothing can be written it is compiled in each process. To whoever is set
    as `reporter` it is reported as "compiling (once)".

    Args:
        signature: of the function, in numba's words.
        fastmath: liberties with floats that numba may take, none unless given.
    """

    def compile_(function: Callable[..., Any]) -> Any:
        def made(cache: bool) -> Any:
            # One process at a time: numba numbers the files of one function, and two that write at once would take the
            # same number for different code.
            with locked(Path(function.__code__.co_filename)):
                return numba.njit(signature, nogil=True, boundscheck=False, fastmath=fastmath, cache=cache)(function)

        with event.install_listener("numba:compile", _Reported()):
            try:
                return made(cache=True)
            except RuntimeError:  # numba's answer where there is no folder to keep it in
                return made(cache=False)

    return compile_
