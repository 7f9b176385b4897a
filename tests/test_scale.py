"""A float8 table of a million rows over 16 files, through the whole main job, in memory that does not grow with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "scale.py"

MOST = 1.5
"""Gigabytes of one process."""

ROWS = 1_000_000


@pytest.mark.slow
def test_a_selection_from_many_rows_holds_few_of_them(tmp_path):
    command = [sys.executable, str(SCRIPT), "--rows", str(ROWS), "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600)
    rows, *_, memory = (cell.strip() for cell in run.stdout.splitlines()[-1].strip("|").split("|"))
    assert rows == f"{ROWS:,}" and float(memory.removesuffix(" GB")) < MOST
