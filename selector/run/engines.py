"""What makes the candidates of a search: this process in turn, several processes, or those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from eigenselect.selector.run.ray_engine import in_ray
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.trial import Made, Trial, make
from eigenselect.selector.run.workers import in_processes


def in_turn(search: Search, trials: Iterable[Trial]) -> Generator[Made]:
    """Every trial, one after the other."""
    yield from (make(search, trial) for trial in trials)


ENGINES: dict[str, Callable[[Search, Iterable[Trial]], Generator[Made]]] = {"processes": in_processes, "ray": in_ray}
"""What makes several candidates at a time: those of `in_turn`, in its order, whoever is first."""


def made(search: Search, trials: Iterable[Trial]) -> Generator[Made]:
    """Every trial as `make` makes it, in their order, by the engine that the search asks for."""
    engine = in_turn if (search.engine, search.workers) == ("processes", 1) else ENGINES[search.engine]
    return engine(search, trials)
