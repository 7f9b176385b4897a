"""Tables as floats."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, Identity
from tests.cases import TABLES, decode, gaussian

pytestmark = pytest.mark.quick


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_float32_is_the_table_in_memory_of_its_own() -> None:
    table = TABLES["gaussian"]
    payload = Identity().compress(table, rng())
    np.testing.assert_array_equal(decode(payload), table.vectors, strict=True)
    assert not np.shares_memory(decode(payload), table.vectors)


def test_float16_is_the_nearest_half() -> None:
    vectors = gaussian(300, 13)
    payload = Identity("float16").compress(EmbeddingTable(vectors), rng())
    assert payload.nbytes == 300 * 13 * 2
    np.testing.assert_array_equal(decode(payload), vectors.astype(np.float16).astype(np.float32), strict=True)
    # ... which is within half a unit in the last of 11 places.
    assert (np.abs(decode(payload) - vectors) <= np.abs(vectors) * 2**-11 + 2**-25).all()


def test_float16_of_a_float16_table_is_exact() -> None:
    table = TABLES["half"]
    np.testing.assert_array_equal(decode(Identity("float16").compress(table, rng())), table.vectors.astype(np.float32))


def test_float16_refuses_what_it_cannot_hold() -> None:
    vectors = np.zeros((4, 2), np.float32)
    vectors[1, 1] = 65504
    Identity("float16").compress(EmbeddingTable(vectors), rng())
    vectors[3, 0] = -70000
    with pytest.raises(ValueError, match=r"^an entry of 70000 exceeds the 65504 of float16: use float32$"):
        Identity("float16").compress(EmbeddingTable(vectors), rng())
