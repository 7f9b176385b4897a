"""Time and memory of every method on a 400,000 x 300 float32 table: `python benchmarks/compressing.py [NAME ...]`.

Each method runs in a process of its own. Memory is the largest resident size beyond that with the table loaded, so it
holds the payload too. The table is Gaussian, its columns' standard deviations fall tenfold.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

from eigenselect.compressors import (
    DCCL,
    PCA,
    TTSVD,
    Bands,
    Blockwise,
    ByteCodebook,
    Compressor,
    EmbeddingTable,
    Identity,
    KMeans,
    LightToken,
    ProductQuantization,
    ResidualQuantization,
    Spectral,
    TrellisCode,
    Uniform,
)
from eigenselect.selector.measures import score

N, D = 400_000, 300

METHODS: list[Compressor] = [
    Identity("float16"),
    Uniform(2),
    Uniform(4),
    KMeans(4),
    KMeans(8),
    PCA(rate=3, keep_dimension=True, then=Uniform(4)),
    Blockwise(4, "absmax", block=32),
    Blockwise(4, "nf4", block=64),
    Blockwise(8, "minmax"),
    TTSVD(8),
    TTSVD(8, cores=2),
    TTSVD(8, cores=4),
    *(Spectral(then=ByteCodebook(bits)) for bits in (1, 2, 4)),
    *(Spectral(then=KMeans(bits)) for bits in (2, 4)),
    *(Spectral(then=TrellisCode(bits)) for bits in (1, 2, 3, 4)),
    Spectral(then=Bands(0.2, TrellisCode(2), TrellisCode(1))),
    ProductQuantization(75, 256),
    ProductQuantization(150, 16),
    ResidualQuantization(32, 256),
    ResidualQuantization(75, 16),
    DCCL(bits=1, codewords=16),
    DCCL(bits=1, codewords=256),
    LightToken(25),
    DCCL(bits=1, codewords=16, training="gumbel"),
]


def table() -> EmbeddingTable:
    """The (N, D) table."""
    rng = np.random.default_rng(0)
    vectors = np.empty((N, D), np.float32)
    scales = np.logspace(0, -1, D, dtype=np.float32)
    mixing = np.linalg.qr(rng.standard_normal((D, D)))[0].astype(np.float32)
    for start in range(0, N, 10_000):
        vectors[start : start + 10_000] = (rng.standard_normal((10_000, D), dtype=np.float32) * scales) @ mixing
    return EmbeddingTable(vectors)


def measure(name: str) -> None:
    """Run one method and print its row."""
    (compressor,) = (method for method in METHODS if method.name == name)
    given = table()
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    payload = compressor.compress(given, np.random.default_rng(0))
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = (after.ru_maxrss - before.ru_maxrss) / 1e3
    scores = score(given, payload)
    print(
        f"| {name} | {payload.nbytes / 1e6:.1f} | {wall:.1f} | {cpu:.1f} | {memory:.0f} "
        f"| {scores['eos']:.4f} | {scores['reconstruction_error_relative']:.4f} |",
        flush=True,
    )


def main(names: list[str]) -> None:
    """Every method, or those named."""
    print("| method | MB | wall s | CPU s | peak MB | EOS | rel. error |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in names or [method.name for method in METHODS]:
        subprocess.run([sys.executable, __file__, "--one", name], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
    else:
        main(sys.argv[1:])
