"""How near each quantizer comes to Shannon's limit: `python benchmarks/limit.py TABLE [TOKENS]`.

On a fully whitened, rotated table EOS is about 1 − D, and for a Gaussian no code of b bits has D below 2^(−2b). The
room is what lies between the optimal scalar quantizer (Lloyd-Max) and that limit; the last column says how much of it
is taken. Errors are those of the default, half whitening. Row scales, matrices and codebooks are counted in the bytes.
"""

from __future__ import annotations

import sys

import numpy as np

from eigenselect.compressors import ByteCodebook, Compressor, KMeans, Spectral, TrellisCode, Uniform
from eigenselect.selector.measures import score
from eigenselect.selector.sources import read_table

LLOYD_MAX = {1: 0.6366, 2: 0.8825, 3: 0.96546, 4: 0.990503}
"""1 − D of the Gaussian (Max 1960, Table I)."""


def main(path: str, tokens: str | None = None) -> None:
    """Print the table."""
    table = read_table(path, tokens=tokens)
    print(f"{table.n} x {table.d}\n")
    print("| bits | code | bytes | EOS, whitened | EOS, half | rel. error, half | of the room |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for bits in LLOYD_MAX:
        codes: list[Compressor] = [KMeans(bits), TrellisCode(bits, 8), TrellisCode(bits)]
        if bits != 3:
            codes.insert(1, ByteCodebook(bits))
        plain = score(table, Uniform(bits).compress(table, np.random.default_rng(0)))
        size, error = Uniform(bits).nbytes(table.n, table.d), plain["reconstruction_error_relative"]
        print(f"| {bits} | uniform, not transformed | {size} | {plain['eos']:.4f} | | {error:.4f} | |")
        for code in codes:
            whitened, half = (Spectral(whitening, then=code) for whitening in (1, 0.5))
            eos = score(table, whitened.compress(table, np.random.default_rng(0)))["eos"]
            scores = score(table, half.compress(table, np.random.default_rng(0)))
            share = (eos - LLOYD_MAX[bits]) / (1 - 2.0 ** (-2 * bits) - LLOYD_MAX[bits])
            print(
                f"| {bits} | {code.name} | {half.nbytes(table.n, table.d)} | {eos:.4f} | {scores['eos']:.4f} "
                f"| {scores['reconstruction_error_relative']:.4f} | {share:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
