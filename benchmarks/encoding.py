"""How fast codes are found, beside what this processor could do: `python benchmarks/encoding.py`, on one core.

A branch is one way into one state of the trellis for one value. It takes six operations on numbers of 32 bits: a
product and two sums, a comparison, and the choice of the cost and of the way. A pair is a piece of a row and a codeword
of v values: v products that are summed, a difference, a comparison and two choices. The bound is what that leaves of
the operations that this processor makes on vectors in its registers, measured in the same run; the code also reads and
writes. The level of a value is bound by reading 4 bytes and writing one, as fast as the memory is copied.

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma,+bmi2 python benchmarks/encoding.py

compiles for AVX2 on a processor that has more; numpy, which finds levels, keeps to what the processor has.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import llvmlite.binding as llvm
import numba
import numpy as np

from eigenselect.compressors.codebooks.assignment import nearest
from eigenselect.compressors.codebooks.scalar import count_below
from eigenselect.compressors.methods.trellis_code import viterbi
from eigenselect.export.verification.timing import processor

DIM = 64

BRANCHES = 1 << 29
"""Branches of a measurement, or those of `viterbi.LANES` rows if they are more."""

ROUNDS = 5

OPERATIONS = 6
"""Of a branch; and of a pair `CHOICE` beside the products."""

CHOICE = 4

STEPS = 20_000
"""How often each of the numbers is operated on that the bounds are measured on."""


def seconds(work: Callable[[], object]) -> float:
    """The least processor time of `work` over the rounds; once before, to compile."""
    work()
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def operations(fused: bool) -> float:
    """Operations a second on numbers in registers: products and sums in turns, or both in one.

    Of as many numbers as give the most: fewer wait for each other, more do not fit the registers.
    """

    def most(count: int) -> float:
        @numba.njit(fastmath={"contract"} if fused else False)
        def operate(numbers: np.ndarray) -> None:
            scale, shift = np.float32(0.999), np.float32(0.001)
            for _ in range(STEPS):
                for i in range(count):
                    numbers[np.uint64(i)] = numbers[np.uint64(i)] * scale + shift

        numbers = np.ones(count, np.float32)
        return (1 if fused else 2) * count * STEPS / seconds(lambda: operate(numbers))

    return max(most(count) for count in (64, 96, 128, 192, 256))


def bandwidth() -> float:
    """Bytes a second, read and written, of a copy that is in no cache."""
    source = np.ones(1 << 26, np.float32)  # zeros would be one page
    target = np.zeros_like(source)
    return 2 * source.nbytes / seconds(lambda: np.copyto(target, source))


def print_branches(rng: np.random.Generator, single: float) -> None:
    """Branches a second at each width and window."""
    print("\n| bits | window | G branches/s | of the bound |\n|---|---|---|---|")
    for bits in (1, 2, 4):
        for window in range(8, 17):
            count = max(1, (BRANCHES >> window) // DIM // 2 // viterbi.LANES) * viterbi.LANES
            rows = rng.standard_normal((count, DIM)).astype(np.float32)
            levels = rng.standard_normal(1 << window).astype(np.float32)
            reach = min(DIM // 2, 6 * window)
            terms = levels[None] * levels, -2 * levels[None], np.zeros(DIM, np.int64), np.full(DIM, bits)
            took = seconds(lambda: viterbi.encode(rows, *terms, reach))  # noqa: B023  # called at once
            rate = (DIM + 2 * reach) * count * (1 << window) / took
            print(f"| {bits} | {window} | {rate / 1e9:.2f} | {rate * OPERATIONS / single:.0%} |", flush=True)


def print_codewords(rng: np.random.Generator, single: float, fused: float) -> None:
    """Pairs a second of a byte codebook of each width."""
    print("\n| values of a piece | G pairs/s | of the bound |\n|---|---|---|")
    for v in (2, 4, 8):
        pieces, codebook = (rng.standard_normal((count, v)).astype(np.float32) for count in (1 << 18, 256))
        rate = len(pieces) * len(codebook) / seconds(lambda: nearest(pieces, codebook))  # noqa: B023
        print(f"| {v} | {rate / 1e9:.2f} | {rate * (v / fused + CHOICE / single):.0%} |", flush=True)


def print_levels(rng: np.random.Generator, copied: float) -> None:
    """Values a second whose levels are found."""
    print("\n| bits | G values/s | of the bound | by binary search |\n|---|---|---|---|")
    values = rng.standard_normal(1 << 23).astype(np.float32)
    for bits in (1, 2, 4, 8):
        boundaries = np.sort(rng.standard_normal((1 << bits) - 1)).astype(np.float32)
        rate, searched = (
            len(values) / seconds(work)
            for work in (
                lambda: count_below(values, boundaries),  # noqa: B023
                lambda: np.searchsorted(boundaries, values),  # noqa: B023
            )
        )
        print(f"| {bits} | {rate / 1e9:.3f} | {5 * rate / copied:.0%} | {searched / 1e9:.3f} |", flush=True)


def main() -> None:
    """Print the tables."""
    rng = np.random.default_rng(0)
    target = numba.core.config.CPU_NAME or llvm.get_host_cpu_name()
    single, fused, copied = operations(fused=False), operations(fused=True), bandwidth()
    print(f"{processor()}, compiled for {target}, one core")
    print(
        f"{single / 1e9:.1f} G operations/s on registers, {fused / 1e9:.1f} G/s products that are summed, "
        f"{copied / 1e9:.1f} GB/s copied: at most {single / OPERATIONS / 1e9:.1f} G branches/s and "
        f"{copied / 5e9:.1f} G values/s"
    )
    print_branches(rng, single)
    print_codewords(rng, single, fused)
    print_levels(rng, copied)


if __name__ == "__main__":
    main()
