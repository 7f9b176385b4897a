"""What a table takes where it was read: said beside float32 in the record and on the terminal."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable
from eigenselect.selector.decision.entries import StoredEntry
from eigenselect.selector.sources import read_table
from eigenselect.selector.sources.numbers import floats
from tests.cases import gaussian
from tests.export.hosts import make_host, save_host

VECTORS = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("dtype", "payload", "says"),
    [
        (
            np.float16,
            512,
            "25.0% of float32, and is 2.0 times smaller than the table is stored (float16",
        ),
        (
            ml_dtypes.bfloat16,
            256,
            "12.5% of float32, and is 4.0 times smaller than the table is stored (bfloat16",
        ),
        (
            ml_dtypes.float8_e5m2,
            1024,
            "50.0% of float32, and is 2.0 times larger than the table is stored (float8",
        ),
    ],
)
def test_a_choice_is_compared_with_what_is_stored(dtype, payload, says):
    stored = VECTORS.astype(dtype)
    entry = StoredEntry.of(EmbeddingTable(floats(stored)), payload)
    assert entry is not None and entry.nbytes == stored.nbytes and says in entry.says
    assert f"{stored.nbytes:,} bytes" in entry.says
    assert StoredEntry.of(EmbeddingTable(VECTORS), payload) is None


@pytest.mark.parametrize(
    ("form", "dtype", "nbytes"),
    [("plain", "float32", 960), ("half", "float16", 480), ("int8", "int8", 240 + 160), ("scales apart", "int8", 400)],
)
def test_a_table_of_a_model_takes_what_its_tensors_do(form, dtype, nbytes, tmp_path: Path):
    """40 x 6 numbers, and with int8 a float32 scale a row."""
    table = read_table(save_host(make_host(gaussian(40, 6), form), tmp_path / "host.onnx"))
    assert (table.stored, table.stored_nbytes) == (dtype, nbytes)
