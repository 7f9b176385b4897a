"""The commands, run as a user does, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

import selector.__main__


def command(*arguments: str, main: Callable[[], None] = selector.__main__.main) -> int:
    """Exit code of `python -m selector arguments`, or of another command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["selector", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
    assert isinstance(stop.value.code, int), stop.value.code
    return stop.value.code
