"""benchmarks/web.py: every kind of payload in onnxruntime-web, in a headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import forms

ROOT = Path(__file__).parents[2]

RUNTIME = Path(os.environ.get("ORT_WEB", ROOT / "node_modules/onnxruntime-web/dist"))
"""The folder `dist` of onnxruntime-web."""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium on PATH")
@pytest.mark.skipif(not RUNTIME.is_dir(), reason="needs npm install onnxruntime-web, or its dist as ORT_WEB")
@pytest.mark.parametrize(("provider", "targets"), [("wasm", ["portable", "cpu"]), ("webgpu", ["portable"])])
def test_rows_in_a_browser_are_those_of_numpy(provider: str, targets: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "benchmarks/web.py", "--rows=0", f"--provider={provider}", f"--runtime={RUNTIME}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    compared = re.findall(r"^\| (.+), (\w+) \| (?:[\d.e+-]+|the device has no float16) \|$", run.stdout, re.MULTILINE)
    assert compared == [(case.id, target) for case in forms() for target in targets]
