"""Digests of payloads, for processes of their own too: what a number of threads could change."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable

from eigenselect.compressors import EmbeddingTable, Payload
from eigenselect.selector.measures import score
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


def measured(cases: Iterable[Case]) -> dict[str, dict[str, str]]:
    """Name -> each measure of its payload of the wide table, as the hexadecimal of its bits."""
    table = EmbeddingTable(gaussian(*WIDE))
    found = {}
    for case in cases:
        measures = score(table, compress(case, table))
        found[case.id] = {key: float(value).hex() for key, value in measures.items()}
    return found


def main() -> None:
    """Print, as JSON, the digests and the measures of every case; with `reversed` from the last to the first."""
    cases = [*reversed(CASES)] if "reversed" in sys.argv else CASES
    print(json.dumps({"digests": of_a_wide_table(cases), "measures": measured(cases)}))


if __name__ == "__main__":
    main()
