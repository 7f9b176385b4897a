"""The nearest codeword of short vectors; compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.compiled import compiled, inlined
from eigenselect.compressors.threads import once

Float32s = npt.NDArray[np.float32]

LANES = 64
"""Vectors worked on side by side: a multiple of what the vector units hold."""

# Unsigned indices, or every access would first test for a negative one and nothing would be vectorised.
_U = np.uint64

_INFINITE = np.float32(np.inf)


@inlined
def _closer(best: Any, which: Any, closeness: Any, number: Any) -> Any:  # pragma: no cover
    """The closer of two codewords and its number; the first one where they are as close."""
    more = closeness > best
    return closeness if more else best, number if more else which


@once
def _nearest_of(width: int) -> Any:
    """`nearest` for vectors of `width` values, a constant: the compiler unrolls their sums and vectorises the rest."""

    # Products are contracted into the sums, in their order, as products of matrices do it.
    @compiled("uint8[::1](Array(float32, 2, 'C', True), Array(float32, 2, 'C', True))", fastmath={"contract"})
    def search(points: Any, codebook: Any) -> Any:  # pragma: no cover
        # Four codewords in a loop, which then reads and writes the best ones once.
        words = np.zeros(((len(codebook) + 3) // 4 * 4, width), np.float32)
        halves = np.full(len(words), _INFINITE)  # of the squared lengths
        for k in range(len(codebook)):
            halves[k] = 0
            for j in range(width):
                words[k, j] = codebook[k, j]
                halves[k] += codebook[k, j] * codebook[k, j]
            halves[k] /= np.float32(2)
        block = np.zeros(width * LANES, np.float32)
        best, which, codes = np.empty(LANES, np.float32), np.empty(LANES, np.uint32), np.empty(len(points), np.uint8)
        for start in range(0, len(points), LANES):
            count = min(LANES, len(points) - start)
            for i in range(count):
                for j in range(width):
                    block[j * LANES + i] = points[start + i, j]
            best[:] = -_INFINITE
            which[:] = 0
            for k in range(0, len(words), 4):
                half0, half1, half2, half3 = halves[k], halves[k + 1], halves[k + 2], halves[k + 3]
                n0, n1, n2, n3 = np.uint32(k), np.uint32(k + 1), np.uint32(k + 2), np.uint32(k + 3)
                for i in range(LANES):
                    a = b = c = d = np.float32(0)
                    for j in range(width):
                        value = block[_U(j * LANES + i)]
                        a += value * words[_U(k), _U(j)]
                        b += value * words[_U(k + 1), _U(j)]
                        c += value * words[_U(k + 2), _U(j)]
                        d += value * words[_U(k + 3), _U(j)]
                    closest, number = _closer(best[_U(i)], which[_U(i)], a - half0, n0)
                    closest, number = _closer(closest, number, b - half1, n1)
                    closest, number = _closer(closest, number, c - half2, n2)
                    best[_U(i)], which[_U(i)] = _closer(closest, number, d - half3, n3)
            for i in range(count):
                codes[start + i] = which[i]
        return codes

    return search


def nearest(points: Float32s, codebook: Float32s) -> npt.NDArray[np.uint8]:
    """Index of the nearest codeword of each point: (m, v) and (K, v), K <= 256, give (m,), and v is small."""
    v = points.shape[1]
    width = max(2, 1 << (v - 1).bit_length())  # zeros more do not matter
    if width > v:
        points, codebook = (np.pad(rows, [(0, 0), (0, width - v)]) for rows in (points, codebook))
    codes: npt.NDArray[np.uint8] = _nearest_of(width)(np.ascontiguousarray(points), np.ascontiguousarray(codebook))
    return codes
