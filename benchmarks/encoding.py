"""How fast trellis codes are encoded: `python benchmarks/encoding.py`, one core, each width and window.

A branch is one way into one state of the trellis for one value. It takes six operations on numbers of 32 bits: a
product and two sums, a comparison, and the choice of the cost and of the way. The bound is what that leaves of the
operations that this processor makes on a few vectors in its registers, measured in the same run; the code also reads
and writes costs.

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma,+bmi2 python benchmarks/encoding.py

compiles for AVX2 on a processor that has more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding as llvm
import numba
import numpy as np

from eigenselect.compressors.methods.trellis_code import viterbi

ROWS, DIM = 640, 64

ROUNDS = 5

OPERATIONS = 6

CHAINS, STEPS = 256, 20_000
"""Numbers that the bound is measured on, eight registers of AVX-512 or more of others, and how often."""


@numba.njit(fastmath=False)
def _operate(numbers: np.ndarray, steps: int) -> None:
    """Two operations on each of the numbers, `steps` times."""
    scale, shift = np.float32(0.999), np.float32(0.001)
    for _ in range(steps):
        for i in range(CHAINS):
            numbers[np.uint64(i)] = numbers[np.uint64(i)] * scale + shift


def seconds(work: Callable[[], object]) -> float:
    """The least processor time of `work` over the rounds; once before, to compile."""
    work()
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    target = numba.core.config.CPU_NAME or llvm.get_host_cpu_name()
    numbers = np.ones(CHAINS, np.float32)
    peak = 2 * CHAINS * STEPS / seconds(lambda: _operate(numbers, STEPS)) / 1e9
    name = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    print(f"{name[1] if name else 'unknown processor'}, compiled for {target}, one core")
    print(f"{peak:.1f} G operations/s on registers: at most {peak / OPERATIONS:.1f} G branches/s\n")
    print("| bits | window | G branches/s | of the bound |\n|---|---|---|---|")
    rows = rng.standard_normal((ROWS, DIM)).astype(np.float32)
    for bits in (1, 2, 4):
        for window in (8, 10, 12, 14):
            levels = rng.standard_normal(1 << window).astype(np.float32)
            reach = min(DIM // 2, 6 * window)
            took = seconds(lambda: viterbi.encode(rows, levels, bits, DIM, reach))  # noqa: B023  # called at once
            rate = (DIM + 2 * reach) * ROWS * (1 << window) / took / 1e9
            print(f"| {bits} | {window} | {rate:.2f} | {rate / (peak / OPERATIONS):.0%} |", flush=True)


if __name__ == "__main__":
    main()
