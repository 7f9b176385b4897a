"""What a table takes where it was read: said beside float32 in the record and on the terminal."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from eigenselect.compressors import PCA, Blockwise, EmbeddingTable, ExactRows, Identity, KMeans, Spectral, Uniform
from eigenselect.selector.decision.entries import StoredEntry
from eigenselect.selector.measures import score
from eigenselect.selector.pool.digest import table_digest
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


@pytest.mark.parametrize(
    "method",
    [
        Uniform(3),
        KMeans(2),
        Blockwise(4),
        PCA(4),
        Spectral(1, then=Uniform(2)),
        ExactRows((3, 9), Uniform(2)),
        Identity(),
    ],
    ids=lambda method: method.name,
)
def test_methods_and_measures_take_rows_that_are_made_as_they_take_an_array(method):
    made = EmbeddingTable(floats(VECTORS.astype(ml_dtypes.bfloat16)))
    held = EmbeddingTable(np.asarray(made.vectors))
    payloads = [method.compress(table, np.random.default_rng(0)) for table in (made, held)]
    first, second = (payload.read(slice(0, 64)) for payload in payloads)
    np.testing.assert_array_equal(first, second, strict=True)
    assert payloads[0].nbytes == payloads[1].nbytes and table_digest(made) == table_digest(held)
    assert score(made, payloads[0]) == score(held, payloads[1])
