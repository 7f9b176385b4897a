"""Vector k-means (Lloyd 1982) from k-means++ (Arthur and Vassilvitskii 2007) on: what every codebook is learned by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from eigenselect.compressors import device

Float32s = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

CODEWORDS = (2, 4, 8, 16, 32, 64, 128, 256)
"""Sizes of a codebook whose codes are packed."""

ROUNDS = 30
"""Rounds of Lloyd's algorithm; from there on the error falls by less than a thousandth a round."""

STARTED = 1 << 14
"""Points that the start looks at: it reads them once for each codeword."""

TRIES = 4
"""Points that each start is the best one of."""

SHORT = 8
"""Values of a point for which a product of matrices is not the fastest: most of its time goes into the comparisons."""

CHUNK_BYTES = 1 << 25
"""Size of the distances that are held at once."""

DEVICE_BYTES = 1 << 28
"""The same on a device, which has more memory and takes as long for little as for much."""


def nearest(points: Float32s, codebook: Float32s) -> Codes:
    """Index of the nearest codeword of each point: (m, v) and (K, v), K <= 256, give (m,)."""
    if device.used() is not None:
        return _nearest_on_device(points, codebook)
    if points.shape[1] <= SHORT:
        from eigenselect.compressors.codebooks import assignment  # here, because the compiler takes a second to load

        return assignment.nearest(points, codebook)
    half_squares = np.einsum("ij,ij->i", codebook, codebook) / 2
    codes = np.empty(len(points), dtype=np.uint8)
    step = CHUNK_BYTES // (4 * len(codebook))
    for start in range(0, len(points), step):
        closeness = points[start : start + step] @ codebook.T
        closeness -= half_squares
        codes[start : start + step] = closeness.argmax(axis=1)
    return codes


def _nearest_on_device(points: Float32s, codebook: Float32s) -> Codes:
    words = device.put(codebook)
    half_squares = (words * words).sum(dim=1) / 2
    step = DEVICE_BYTES // (4 * len(codebook))
    parts = (device.put(points[start : start + step]) for start in range(0, max(1, len(points)), step))
    return np.concatenate([device.back((some @ words.T - half_squares).argmax(dim=1).byte()) for some in parts])


def indicators(codes: Codes, count: int) -> csr_array:
    """(m, M * count) sparse float64 of the codes (m, M): a one at code j of each column's group of `count`."""
    m, columns = codes.shape
    where = codes + np.arange(0, columns * count, count)
    return csr_array((np.ones(codes.size), where.ravel(), np.arange(0, codes.size + 1, columns)), (m, columns * count))


def learn(points: Float32s, count: int, rng: np.random.Generator, rounds: int = ROUNDS) -> Float32s:
    """(count, v) codewords for the points (m, v)."""
    few = STARTED
    codebook = _spread(points[rng.choice(len(points), few, replace=False)] if len(points) > few else points, count, rng)
    for _ in range(rounds):
        codes = nearest(points, codebook)
        masses = np.bincount(codes, minlength=count)
        sums = indicators(codes[:, None], count).T @ points.astype(np.float64)
        codebook = (sums / np.maximum(masses, 1)[:, None]).astype(np.float32)
        unused = np.flatnonzero(masses == 0)
        codebook[unused] = points[rng.choice(len(points), len(unused))]
    return codebook


def _spread(points: Float32s, count: int, rng: np.random.Generator) -> Float32s:
    """Greedy k-means++: of a few points, picked with probabilities like their squared distances, the best one next."""
    codebook = np.empty((count, points.shape[1]), dtype=np.float32)
    half_squares = np.einsum("ij,ij->i", points, points)[:, None] / 2
    distances = np.full((len(points), 1), np.inf, dtype=np.float32)
    total = np.arange(1.0, len(points) + 1)
    for i in range(count):
        # With every point on a codeword already, any point will do.
        tries = np.searchsorted(total, rng.random(TRIES) * total[-1], side="right").clip(max=len(points) - 1)
        closer = half_squares + half_squares[tries, 0] - points @ points[tries].T
        np.minimum(closer, distances, out=closer)
        best = closer.sum(axis=0).argmin()
        codebook[i] = points[tries[best]]
        distances = np.maximum(closer[:, best : best + 1], 0)
        total = np.cumsum(distances, dtype=np.float64)
    return codebook
