"""Forty stops of the commands, each followed by the same command: `tests/killing.py` says what must hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 40


@pytest.mark.slow
def test_after_a_stop_the_same_command_ends_as_if_there_had_been_none(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.killing", str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == KILLS
