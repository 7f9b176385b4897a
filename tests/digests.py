"""Digests of payloads, for processes of their own too: what a number of threads could change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from eigenselect.compressors import EmbeddingTable, Payload
from tests.cases import CASES, Case, compress, gaussian

__all__ = ["CASES", "digest", "of_a_wide_table"]

WIDE = (300, 100)
"""Rows and columns of a table whose sums BLAS rounds otherwise on two threads: at 500 x 160 it does not."""


def digest(payload: Payload) -> str:
    """sha256 of every array's name, type, shape and bytes."""
    found = hashlib.sha256()
    for name, array in payload.arrays().items():
        found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def of_a_wide_table(cases: Iterable[Case]) -> dict[str, str]:
    """Name -> digest, from one table that all cases share; then of sums asked for outside a compressor, on another."""
    table = EmbeddingTable(gaussian(*WIDE))
    found = {case.id: digest(compress(case, table)) for case in cases}
    return found | {"sums": hashlib.sha256(EmbeddingTable(gaussian(*WIDE)).gram.tobytes()).hexdigest()}
