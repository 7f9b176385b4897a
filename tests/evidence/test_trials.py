"""How trials are begun and ended."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from eigenselect.selector.evidence.plan import Words
from eigenselect.selector.evidence.tasks.base import Task
from eigenselect.selector.evidence.trials import Training, _ahead, _threads


def test_so_many_are_begun_ahead_and_their_order_stays():
    begun: list[int] = []

    def items():
        for i in range(6):
            begun.append(i)
            yield i

    seen = [(each, len(begun)) for each in _ahead(items(), 2)]
    assert seen == [(0, 3), (1, 4), (2, 5), (3, 6), (4, 6), (5, 6)]
    assert list(_ahead(iter([7]), 2)) == [7] and list(_ahead(iter([]), 2)) == []


class Sum(Task):
    """The sum of the vectors, and how often it was asked for."""

    def __init__(self, name: str, seeded: bool) -> None:
        self.name, self.words, self.files, self.seeded, self.asked = name, ["a", "b"], [], seeded, 0

    def score(self, vectors, known, seed):
        self.asked += 1
        return float(vectors.sum()) + seed

    def missing(self, known):
        return 0.0


def test_what_depends_on_the_vectors_alone_is_done_once():
    alone, seeded = Sum("alone", False), Sum("seeded", True)
    words = Words(np.arange(2), {"alone": np.array([0, 1]), "seeded": np.array([1, -1])})
    decoded = np.array([[1, 2], [3, 4]], np.float32)
    with _threads() as pool:
        training = Training(words, pool)
        futures = [
            training.start([alone, seeded], vectors, seed) for vectors in (decoded, decoded + 1) for seed in (0, 5)
        ]
        scores = [{name: future.result() for name, future in each.items()} for each in futures]
    assert scores == [
        {"alone": 10, "seeded": 7},
        {"alone": 10, "seeded": 12},
        {"alone": 14, "seeded": 9},
        {"alone": 14, "seeded": 14},
    ]
    assert (alone.asked, seeded.asked) == (2, 4)


def test_what_has_not_begun_when_work_ends_never_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)
    held, waited, done = threading.Event(), threading.Event(), []

    def slow():
        waited.set()
        held.wait(10)
        done.append("slow")

    with pytest.raises(KeyError), _threads() as pool:
        pool.submit(slow)
        later = [pool.submit(done.append, i) for i in range(3)]
        waited.wait(10)
        threading.Timer(0.2, held.set).start()
        raise KeyError("stopped")
    assert done == ["slow"] and all(each.cancelled() for each in later)
