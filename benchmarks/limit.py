"""How near each quantizer comes to Shannon's limit: `python benchmarks/limit.py TABLE [TOKENS]`.

On a fully whitened, rotated table EOS is about 1 − D, and for a Gaussian no code of b bits has D below 2^(−2b). The
room is what lies between the optimal scalar quantizer (Lloyd-Max) and that limit; "of the room" says how much of it is
taken. "Bits above Shannon" charges everything: the bits an entry of all bytes, row scales, matrix and codebook among
them, less log2(1 / D) / 2, which a Gaussian needs for the error reached. Errors are those of the default, half
whitening.

The last two codes of each width share the bytes of a row (`row`), with row scales of two bits; where the matrix takes
more than a hundredth of the bytes, it has five bits an entry.
"""

from __future__ import annotations

import math
import platform
import re
import sys
from pathlib import Path

import numpy as np

from eigenselect.compressors import ByteCodebook, Compressor, Identity, KMeans, Spectral, TrellisCode, Uniform
from eigenselect.compressors.data.table import Table
from eigenselect.selector.measures import score
from eigenselect.selector.sources import read_table

LLOYD_MAX = {1: 0.6366, 2: 0.8825, 3: 0.96546, 4: 0.990503}
"""1 − D of the Gaussian (Max 1960, Table I)."""


def codes(table: Table, bits: int, whitening: float) -> list[Spectral]:
    """What is compared at `bits` bits."""
    plain: list[Compressor] = [KMeans(bits), TrellisCode(bits)]
    if bits != 3:
        plain.insert(1, ByteCodebook(bits))
    row = -(-table.d * bits // 8)
    large = 2 * table.d * table.d > 0.01 * table.n * row
    matrix = KMeans(5) if large else Identity("float16")
    shared = [TrellisCode(row=row, window=window) for window in (10, 12)]
    return [
        *(Spectral(whitening, then=code) for code in plain),
        *(Spectral(whitening, "uint2", code, matrix=matrix) for code in shared),
    ]


def main(path: str, tokens: str | None = None) -> None:
    """Print the table."""
    table = read_table(path, tokens=tokens)
    info = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else None
    print(f"{table.n} x {table.d}; {name[1] if name else platform.processor()}\n")
    print("| bits | code | bytes | EOS, whitened | EOS, half | rel. error, half | of the room | bits above Shannon |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for bits in LLOYD_MAX:
        plain = score(table, Uniform(bits).compress(table, np.random.default_rng(0)))
        size, error = Uniform(bits).nbytes(table.n, table.d), plain["reconstruction_error_relative"]
        print(f"| {bits} | uniform, not transformed | {size} | {plain['eos']:.4f} | | {error:.4f} | | |")
        for whitened, half in zip(codes(table, bits, 1), codes(table, bits, 0.5), strict=True):
            eos = score(table, whitened.compress(table, np.random.default_rng(0)))["eos"]
            scores = score(table, half.compress(table, np.random.default_rng(0)))
            share = (eos - LLOYD_MAX[bits]) / (1 - 2.0 ** (-2 * bits) - LLOYD_MAX[bits])
            size = half.nbytes(table.n, table.d)
            above = 8 * size / (table.n * table.d) + math.log2(1 - eos) / 2
            print(
                f"| {bits} | {half.name.removeprefix('spectral0.5-')} | {size} | {eos:.4f} | {scores['eos']:.4f} "
                f"| {scores['reconstruction_error_relative']:.4f} | {share:.0%} | {above:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
