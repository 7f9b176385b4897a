"""Which methods decode a row of zeros to zeros: what `keeps_zero_rows` promises, for all cases."""

from __future__ import annotations

import pytest

from eigenselect.compressors import EmbeddingTable
from tests.cases import CASES, TABLES, Case, compress, decode

ROWS = [0, 7, 50, 99]
KEPT_BY_CHANCE = {"spectral0-norm8-kmeans-b3"}
"""Its 256 fitted row scales have one at zero where few rows differ in length; nothing promises it."""


def padded(name: str) -> EmbeddingTable:
    vectors = TABLES[name].vectors.copy()
    vectors[ROWS] = 0
    return EmbeddingTable(vectors)


PADDED = {name: padded(name) for name in ("gaussian", "half", "mixed-scales")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_method_keeps_rows_of_zeros_if_it_says_so_and_only_then(case: Case) -> None:
    tables = (table for table in PADDED.values() if table.abs_max <= case.largest)
    kept = all(not decode(compress(case, table))[ROWS].any() for table in tables)
    assert kept == (case.compressor.keeps_zero_rows or case.id in KEPT_BY_CHANCE)
