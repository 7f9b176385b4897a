"""The command, run as a user does, in this process."""

from __future__ import annotations

import sys

import pytest

from eigenselect.__main__ import main


def command(*arguments: str) -> int:
    """Exit code of `eigenselect arguments`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["eigenselect", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
    assert isinstance(stop.value.code, int), stop.value.code
    return stop.value.code
