"""Static models against human scores of pairs of sentences: `python benchmarks/static.py FOLDER PAIRS.tsv [ONLY]`.

FOLDER is that of a static model, PAIRS.tsv has a header and lines of a score and two sentences. Printed of each method
are its bytes, the rank correlation of the cosines with the scores and the share of the original's that it is, and the
mean and least cosine of a sentence's vectors before and after. ONLY is a part of the names of methods.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from eigenselect.compressors import (
    PCA,
    Bands,
    Blockwise,
    ByteCodebook,
    Compressor,
    Identity,
    KMeans,
    Spectral,
    TrellisCode,
    Uniform,
)
from eigenselect.export import StaticModel
from eigenselect.selector.sources import read_table, static

METHODS: list[Compressor] = [
    Uniform(4),
    Uniform(2),
    Uniform(1),
    PCA(dim=128, keep_dimension=True, then=KMeans(2)),
    PCA(dim=128, keep_dimension=True, then=TrellisCode(2)),
    Spectral(then=ByteCodebook(1)),
    Spectral(norm="none", then=TrellisCode(1)),
    Spectral(norm="uint8", then=TrellisCode(1)),
    Spectral(norm="uint8", then=Bands(0.1, TrellisCode(2), TrellisCode(1))),
    Spectral(norm="uint2", matrix=Blockwise(8), then=Bands(0.1, TrellisCode(2), TrellisCode(1))),
    Spectral(norm="uint2", matrix=Blockwise(8), then=Bands(0.15, TrellisCode(2), TrellisCode(1))),
]


def main(folder: str, pairs: str, only: str = "") -> None:
    """Print the table."""
    given = static.read(Path(folder))
    if given is None:
        raise SystemExit(f"{folder} is not the folder of a static model")
    lines = [line.split("\t") for line in Path(pairs).read_text(encoding="utf-8").splitlines()[1:]]
    scores = [float(line[0]) for line in lines]
    texts = [line[1] for line in lines] + [line[2] for line in lines]

    def measured(model: StaticModel) -> tuple[np.ndarray, float]:
        vectors = model.encode(texts, normalize=True)
        one, other = np.split(vectors, 2)
        return vectors, float(spearmanr(np.einsum("ij,ij->i", one, other), scores).statistic)

    table = read_table(given.file, tensor=given.tensor)
    before, original = measured(given.model(Identity().compress(table, np.random.default_rng(0))))
    print(f"{table.n} x {table.d}, {len(lines):,} pairs; the original's correlation is {original:.4f}\n")
    print("| method | bytes | correlation | of the original's | cosine | least |")
    print("|---|---|---|---|---|---|", flush=True)
    for method in METHODS:
        if only in method.name:
            payload = method.compress(table, np.random.default_rng(0))
            after, found = measured(given.model(payload))
            cosines = np.einsum("ij,ij->i", before, after)
            print(
                f"| {method.name} | {payload.nbytes:,} | {found:.4f} | {found / original:.4f} "
                f"| {cosines.mean():.4f} | {cosines.min():.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
