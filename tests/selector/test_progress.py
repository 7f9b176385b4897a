"""The bar on the terminal."""

from __future__ import annotations

import io
import sys

import pytest

from eigenselect.compressors.training import reported
from eigenselect.selector import progress as module
from eigenselect.selector.progress import progress, reporting


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def set_stderr(monkeypatch, stream: io.StringIO) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress_shows_on_a_terminal_only(stream, monkeypatch):
    set_stderr(monkeypatch, stream())
    with progress("measuring candidates") as update:
        update(3, 7)
    shown = sys.stderr.getvalue()
    assert ("measuring candidates" in shown and "3/7" in shown) == (stream is Terminal)
    assert stream is Terminal or shown == ""


def test_a_bar_inside_of_another_shares_its_display(monkeypatch):
    set_stderr(monkeypatch, Terminal())
    with progress("outer") as outer:
        outer(1, 2)
        (display,) = module._shown
        with progress("inner", counted=False) as inner:
            inner(1, 4)
            assert [task.description for task in display.tasks] == ["outer", "inner"]
            assert [task.fields["amount"] for task in display.tasks] == ["1/2", "25%"]
        assert [task.description for task in display.tasks] == ["outer"]
    assert not module._shown


def test_a_compressor_is_a_line_of_the_bar_and_has_its_own_without_one(monkeypatch):
    set_stderr(monkeypatch, Terminal())
    with progress("outer"), reported("a compressor") as inner:
        inner(1, 4)
        assert [task.description for task in module._shown[0].tasks] == ["outer", "a compressor"]
    with reporting(), reported("alone"):
        assert [task.description for task in module._shown[0].tasks] == ["alone"]
    with reported("nobody asked"):
        assert not module._shown


def test_a_bar_ends_with_an_error(monkeypatch):
    set_stderr(monkeypatch, Terminal())
    with pytest.raises(KeyError), progress("outer"):
        raise KeyError
    assert not module._shown
