"""benchmarks/gpu.py: its dry run, where only what a machine with a GPU is sure to have is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

import pytest
import torch

from benchmarks import gpu

ROOT = Path(__file__).parent.parent

MISSING = ("hydra", "matplotlib", "mlflow", "omegaconf", "onnxruntime", "onnxscript", "plotly", "pyarrow", "rich",
           "threadpoolctl")  # fmt: skip


@pytest.mark.slow
def test_a_dry_run_of_every_part(tmp_path: Path) -> None:
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({MISSING}))\n"
    (tmp_path / "sitecustomize.py").write_text(blocked)  # which each of the script's processes imports first
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py", "--device=cpu", "--out=written.md"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    written = (tmp_path / "written.md").read_text(encoding="utf-8")
    assert written.endswith(run.stdout), "each line as it comes, and all of them in the file"
    parts = re.split(r"^## ", written, flags=re.MULTILINE)[1:]
    assert [part.partition("\n")[0].replace(" ", "_") for part in parts] == [name.split(".")[1] for name in gpu.PARTS]
    ok, failed, skipped = map(int, re.findall(r"\d+", written.splitlines()[-1]))
    assert (ok, failed, skipped) == tuple(
        len(re.findall(rf"^\| {o} \|", written, re.M)) for o in ("ok", "FAIL", "skip")
    )
    assert ok > 200 and failed == 0
    assert "| skip | CPUExecutionProvider | onnxruntime is not installed |" in written
    assert "| skip | the kernel's rows | there is no GPU |" in written
    assert re.search(r"^\| embedding \| float32 \| 1200 \| [\d.]+ \| 1\.00 \| [\d.]+ \|$", written, re.MULTILINE)


def test_a_failed_check_is_a_row() -> None:
    def fails() -> str:
        raise ValueError("a | b\nc")

    def cannot() -> str:
        raise SkipTest("no GPU")

    late = float("-inf")
    assert gpu._checked("x", lambda: "fine", 1e12) == ("ok", "x", "fine")
    assert gpu._checked("x", fails, 1e12) == ("FAIL", "x", "ValueError: a / b c")
    assert gpu._checked("x", cannot, 1e12) == ("skip", "x", "no GPU")
    assert gpu._checked("x", fails, late) == ("skip", "x", "no time is left")


def test_a_part_that_ends_early_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    assert [*gpu._lines("gpu_speed.speed", "cpu", "")][-1].startswith(
        "| FAIL | gpu_speed.speed | ended with exit code 1"
    )


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", f"--out={tmp_path / 'written.md'}"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert gpu.main() == 1
    assert capsys.readouterr() == ("", "error: torch sees no GPU; --device cpu is a dry run\n")
