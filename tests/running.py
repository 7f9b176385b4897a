"""The command, run as a user does, in this process."""

from __future__ import annotations

import sys

import pytest

from eigenselect.__main__ import run


def command(*arguments: str) -> int:
    """Exit code of `eigenselect arguments`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["eigenselect", *arguments])
        return run(arguments)
