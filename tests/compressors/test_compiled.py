"""Compiled loops: that they are vectorised, where they are kept, and who hears that something is compiled."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eigenselect.compressors.training import Update, reporter

SOURCE = """
from eigenselect.compressors.compiled import compiled, inlined

@inlined
def once(number):
    return number + 1

@compiled("int64(int64)")
def twice(number):
    return once(once(number))
"""


def reports_of(path: Path) -> list[str]:
    """What is reported while the file is imported, as if by a new process."""
    found = []

    @contextmanager
    def listen(label: str) -> Iterator[Update]:
        found.append(label)
        yield lambda done, total: None
        found.append("done")

    token = reporter.set(listen)
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        reporter.reset(token)
    assert module.twice(3) == 5
    return found


COMPILED = ["compiling (once)", "done"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have the user's cache elsewhere")
@pytest.mark.parametrize(
    ("beside", "user", "again"),
    [("folder", "folder", []), ("file", "folder", []), ("file", "file", COMPILED)],
    ids=["beside the file", "in the user's cache", "nowhere"],
)
def test_what_is_compiled_is_kept_where_it_can_be(
    beside: str, user: str, again: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the place of a folder stands for one that cannot be written, which nothing is for root."""
    made = {"folder": Path.mkdir, "file": Path.touch}
    package, cache = tmp_path / "package", tmp_path / "cache"
    package.mkdir()
    made[beside](package / "__pycache__")
    made[user](cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    path = package / "loops.py"
    path.write_text(SOURCE)
    assert reports_of(path) == COMPILED
    assert reports_of(path) == again
    kept = {"beside" if package in file.parents else "user" for file in tmp_path.rglob("*.nbi")}
    assert kept == ({"beside"} if beside == "folder" else {"user"} if user == "folder" else set())


VECTOR_OPERATIONS = """
import json, re, sys
import numba, numpy as np
from eigenselect.compressors.codebooks import assignment
from eigenselect.compressors.methods.trellis_code import viterbi

costs, choices = np.zeros(64 * viterbi.LANES, np.float32), np.zeros(64 * viterbi.LANES, np.uint8)
steps = (viterbi._step_of_two, viterbi._step_of_four, viterbi._step_of_many)
for step in steps:
    step(costs, costs.copy(), choices, costs[: viterbi.LANES], costs, costs, 2, 16, 16)
numba.config.CACHE_DIR = sys.argv[1]  # an empty folder: what was kept is not shown
count = lambda made, name: len(re.findall(name + r"\\w*ps.*%[yz]mm", "".join(made.inspect_asm().values())))
print(json.dumps([*(count(step, "vcmp") for step in steps), count(assignment._nearest_of(4), "vfmadd")]))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is of x86-64 processors")
@pytest.mark.parametrize("target", ["avx2", "this processor"])
def test_the_loops_are_vectorised(target: str, tmp_path: Path) -> None:
    """A loop over ways with choices of another width than its costs is not, for AVX2: it ran at a seventh of the speed.

    Ways a step compares, and products for four codewords of four values.
    """
    avx2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2"} if target == "avx2" else {}
    command = [sys.executable, "-c", VECTOR_OPERATIONS, str(tmp_path)]
    made = subprocess.run(command, env=os.environ | avx2, capture_output=True, text=True, check=True)
    of_two, of_four, of_many, products = json.loads(made.stdout)
    assert of_two >= 1
    assert of_four >= 3
    assert of_many >= 4
    assert products >= 16
