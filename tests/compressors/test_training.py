from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch

from eigenselect.compressors import training
from eigenselect.compressors.training import Deadline, check_time_limit, generator, one_thread, progress


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress_shows_on_a_terminal_only(stream, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream())
    with progress("measuring candidates") as update:
        update(3, 7)
    shown = sys.stderr.getvalue()
    assert ("measuring candidates" in shown and "3/7" in shown) == (stream is Terminal)
    assert stream is Terminal or shown == ""


def test_a_bar_inside_of_another_shares_its_display(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("outer") as outer:
        outer(1, 2)
        (display,) = training._shown
        with progress("inner", counted=False) as inner:
            inner(1, 4)
            assert [task.description for task in display.tasks] == ["outer", "inner"]
            assert [task.fields["amount"] for task in display.tasks] == ["1/2", "25%"]
        assert [task.description for task in display.tasks] == ["outer"]
    assert not training._shown


def test_a_bar_ends_with_an_error(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(KeyError), progress("outer"):
        raise KeyError
    assert not training._shown


def test_a_deadline_passes(monkeypatch):
    now = 100.0
    monkeypatch.setattr(training.time, "monotonic", lambda: now)
    never, soon, at_once = Deadline(None), Deadline(5), Deadline(0)
    assert (never.passed, soon.passed, at_once.passed) == (False, False, True)
    now = 105.0
    assert (never.passed, soon.passed) == (False, True)


def test_one_thread_is_restored_even_after_an_error():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with pytest.raises(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_generator_is_drawn_from_the_rng():
    first, again, other = (torch.rand(4, generator=generator(np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("limit", [-1, float("nan"), "5", True])
def test_a_time_limit_is_checked(limit):
    with pytest.raises(ValueError, match=r"LightToken time_limit = .*seconds of at least 0"):
        check_time_limit("LightToken", limit)
    check_time_limit("LightToken", None)
    check_time_limit("LightToken", 0)
