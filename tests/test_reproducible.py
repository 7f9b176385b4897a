"""The same bytes in whatever process: threads, order, folder, neighbours, and what a processor has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cases import CASES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"

NUMBERS = {"delta2", "projected_reconstruction_error"}
"""Measures that are nothing but rounding where nothing is lost."""


def begun(folder: Path, *words: str, threads: int = 1, **settings: str) -> subprocess.Popen[str]:
    """A process that prints the digests and measures of every case."""
    folder.mkdir()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT), *sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.digests", *words],
        env=os.environ | dict.fromkeys(names, str(threads)) | settings | {"PYTHONPATH": path},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process: subprocess.Popen[str]) -> Any:
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(out)


def test_six_processes_at_once_make_the_same_of_every_case(tmp_path: Path) -> None:
    one, *others = [begun(tmp_path / str(i), *["reversed"] * (i % 2), threads=1 + i // 4) for i in range(6)]
    expected = printed(one)
    found = [printed(process) for process in others]
    assert len(expected["digests"]) == len(CASES) + 1
    assert all(each["digests"] == expected["digests"] for each in found)
    assert all(each["measures"] == expected["measures"] for each in found[:3]), "on one thread, to the last digit"
    assert found[3]["measures"] == found[4]["measures"], "on two"
    for name, measures in expected["measures"].items():
        for key in {*measures} - NUMBERS:
            values = [float.fromhex(each["measures"][name][key]) for each in (expected, found[3])]
            assert values[0] == pytest.approx(values[1], rel=1e-11, abs=1e-11), (name, key)


def test_numpy_without_avx512_makes_the_same_of_every_case(tmp_path: Path) -> None:
    plain, without = begun(tmp_path / "a"), begun(tmp_path / "b", NPY_DISABLE_CPU_FEATURES=AVX512)
    assert printed(plain) == printed(without)
