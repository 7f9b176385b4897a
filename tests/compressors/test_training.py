"""What training needs: deadlines that count training alone, reports, and draws."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from eigenselect.compressors import DCCL, EmbeddingTable, LightToken, Payload, training
from eigenselect.compressors.training import Deadline, generator, reported, reporter
from tests.cases import gaussian

TABLE = EmbeddingTable(gaussian(200, 12))


def compressed(method: DCCL | LightToken) -> Payload:
    return method.compress(TABLE, np.random.default_rng(0))


def same(one: Payload, other: Payload) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.arrays().values(), other.arrays().values(), strict=True))


def test_a_deadline_passes(monkeypatch):
    now = 100.0
    monkeypatch.setattr(training.time, "monotonic", lambda: now)
    never, soon, at_once = Deadline(None), Deadline(5), Deadline(0)
    assert (never.passed, soon.passed, at_once.passed) == (False, False, True)
    now = 105.0
    assert (never.passed, soon.passed) == (False, True)


TRAINED = [
    lambda time_limit: DCCL(
        books=2, codewords=4, training="gumbel", learning_rate=0.05, epochs=2, time_limit=time_limit
    ),
    lambda time_limit: LightToken(rate=2, stages=2, steps=3, refinements=1, time_limit=time_limit),
]


@pytest.mark.parametrize("method", TRAINED)
def test_seconds_of_importing_are_not_counted(method, monkeypatch):
    """Importing torch and making its first optimizer took all of a short limit: nothing was trained."""
    expected = compressed(method(None))
    now, first, adam = 0.0, True, torch.optim.Adam

    def slow_at_first(*arguments, **settings):
        nonlocal now, first
        now, first = now + 10.0 * first, False
        return adam(*arguments, **settings)

    monkeypatch.setattr(training.time, "monotonic", lambda: now)
    monkeypatch.setattr(torch.optim, "Adam", slow_at_first)
    assert same(compressed(method(5)), expected)
    assert now == 10.0


@pytest.mark.parametrize("method", TRAINED)
def test_one_step_is_made_whatever_the_limit(method, monkeypatch):
    steps = 0
    step = torch.optim.Adam.step

    def counted(*arguments, **settings):
        nonlocal steps
        steps += 1
        return step(*arguments, **settings)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    compressed(method(0))
    assert steps == 1


def test_reports_go_to_whoever_is_set(monkeypatch, capsys):
    seen = []
    token = reporter.set(lambda label: nullcontext(lambda done, total: seen.append((label, done, total))))
    method = DCCL(books=2, codewords=4)
    try:
        compressed(method)
    finally:
        reporter.reset(token)
    assert seen[:2] == [(method.name, 0, 8), (method.name, 1, 8)]


def test_nothing_is_shown_unless_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    compressed(DCCL(books=2, codewords=4))
    with reported("training") as update:
        update(3, 7)
    assert capsys.readouterr() == ("", "")


def test_a_generator_is_drawn_from_the_rng():
    first, again, other = (torch.rand(4, generator=generator(np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
