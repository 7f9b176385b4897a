"""Everything that is to run on a GPU, run there once: `make gpu-check`, or `python3 benchmarks/gpu.py`.

    python3 benchmarks/gpu.py [--device cpu] [--out FILE]

Needs torch with CUDA, numpy, numba, scipy, onnx and safetensors; no installation, no network. What else is missing
(Triton, nvcc, ONNX Runtime for GPUs) is skipped by name. Each part of `PARTS` runs in a process of its own, since a
kernel that fails takes the device from its process. A check is one row, `ok`, `FAIL` or `skip`; the last line counts
them, and the exit code is 1 if one has failed. On a GPU `benchmarks/gpu.md` is written, or FILE anywhere.
`--device cpu` does on small sizes what a CPU can: a dry run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import SkipTest

ROOT = Path(__file__).resolve().parents[1]

PARTS = {
    "gpu_checks.machine": 20,
    "gpu_checks.payloads": 100,
    "gpu_checks.training": 30,
    "gpu_selection.measuring": 50,
    "gpu_selection.selecting": 60,
    "gpu_checks.triton": 60,
    "gpu_checks.native": 50,
    "gpu_checks.onnx_runtime": 50,
    "gpu_speed.speed": 150,
}
"""Part -> seconds that it may take on a GPU, less than ten minutes in all; a CPU, which may be busy, is let be."""

OUTCOMES = ("ok", "FAIL", "skip")

HEADER = "\n| | check | |\n|---|---|---|"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=PARTS, help="this one alone, in this process")
    parser.add_argument("--folder", type=Path, help="where a part finds what one before it has built")
    args = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # whatever the locale
    make_importable()
    if args.part:
        _play(args.part, args.device, args.folder)
        return 0
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("error: torch sees no GPU; --device cpu is a dry run", file=sys.stderr)
        return 1
    lines = ["# On a GPU", "", f"Written by `python3 benchmarks/gpu.py --device {args.device}`."]
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            for line in _lines(part, args.device, folder):
                print(line, flush=True)
                lines.append(line)
    counts = Counter(outcome for line in lines for outcome in OUTCOMES if line.startswith(f"| {outcome} |"))
    lines.append(f"\n{counts['ok']} ok, {counts['FAIL']} failed, {counts['skip']} skipped")
    print(lines[-1])
    out = args.out or (ROOT / "benchmarks" / "gpu.md" if args.device == "cuda" else None)
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(counts["FAIL"] > 0)


def make_importable() -> None:
    """Let a plain checkout be imported."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    if find_spec("threadpoolctl") is None:  # sums may then take several threads: nothing here depends on how many
        libraries = SimpleNamespace(select=lambda **which: SimpleNamespace(lib_controllers=()))
        found: Any = SimpleNamespace(LibController=object, ThreadpoolController=lambda: libraries)
        sys.modules["threadpoolctl"] = found


def _limit(part: str, device: str) -> float:
    return PARTS[part] if device == "cuda" else 20 * PARTS[part]


def _lines(part: str, device: str, folder: str) -> Iterator[str]:
    """What a part prints, and a failed check if it does not come to its end."""
    yield f"\n## {part.partition('.')[2].replace('_', ' ')}"
    command = [sys.executable, __file__, f"--part={part}", f"--device={device}", f"--folder={folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        timer = threading.Timer(_limit(part, device), child.kill)
        timer.start()
        assert child.stdout is not None
        for line in child.stdout:
            yield line.rstrip("\n")
        code = child.wait()
        timer.cancel()
    if code:
        yield f"| FAIL | {part} | ended with exit code {code}: its messages are on the screen |"


def _play(part: str, device: str, folder: Path) -> None:
    """Print a part's lines, and run its checks: those that its time does not suffice for are skipped."""
    module, _, name = part.partition(".")
    end, in_table = time.monotonic() + 0.8 * _limit(part, device), False
    for item in getattr(import_module(f"benchmarks.{module}"), name)(device, folder):
        if isinstance(item, str):
            print(item, flush=True)
        else:
            if not in_table:
                print(HEADER)
            check, work = item
            print(f"| {' | '.join(_checked(check, work, end))} |", flush=True)
        in_table = not isinstance(item, str)


def _checked(check: str, work: Any, end: float) -> tuple[str, str, str]:
    """Outcome, name and what there is to say."""
    try:
        if time.monotonic() > end:
            raise SkipTest("no time is left")
        return "ok", check, work()
    except SkipTest as why:
        return "skip", check, str(why)
    except Exception as error:  # whatever it is, the other checks are made
        return "FAIL", check, f"{type(error).__name__}: {error}".replace("\n", " ").replace("|", "/")[:500]


if __name__ == "__main__":
    sys.exit(main())
