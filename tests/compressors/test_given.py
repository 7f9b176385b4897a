"""Given tables: rows matched by token, whatever their order; what does not match is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.compressors import (
    PCA,
    Blockwise,
    ByteCodebook,
    EmbeddingTable,
    Given,
    Identity,
    KMeans,
    Spectral,
    Uniform,
)
from eigenselect.compressors.data.views import ProjectedTable
from eigenselect.compressors.payloads.composed import Unaligned
from eigenselect.selector.measures import score
from eigenselect.selector.pool.candidates import expand, parameters
from eigenselect.selector.pool.digest import candidate_key, table_digest
from tests.cases import decode, gaussian
from tests.decoding import Example, check_chunks, check_everywhere, check_stored

N, D = 40, 6
TOKENS = [f"t{i}" for i in range(N)]
TABLE = EmbeddingTable(gaussian(N, D), TOKENS)
SMALL = gaussian(N + 5, 3, seed=8)
ORDER = np.random.default_rng(1).permutation(N + 5)
"""The small table's rows are shuffled, and five of them are of tokens that the table lacks."""
READY = EmbeddingTable(SMALL[ORDER], [f"t{i}" for i in ORDER])


def compressed(compressor, table: EmbeddingTable = TABLE, seed: int = 0):
    return compressor.compress(table, np.random.default_rng(seed))


def test_a_permutation_of_three_rows_by_hand() -> None:
    table = EmbeddingTable(np.eye(3, dtype=np.float32), ["a", "b", "c"])
    ready = EmbeddingTable(np.array([[3, 30], [9, 90], [1, 10], [2, 20]], np.float32), ["c", "other", "a", "b"])
    payload = compressed(Given("tiny", ready), table)
    np.testing.assert_array_equal(decode(payload), [[1, 10], [2, 20], [3, 30]])
    assert isinstance(payload, Unaligned) and payload.nbytes == 3 * 2 * 4 == Given("tiny", ready).nbytes(3, 3)


METHODS = [Identity(), Identity("float16"), Uniform(4), KMeans(3), Blockwise(8), ByteCodebook(4), Spectral()]


@pytest.mark.parametrize("then", METHODS, ids=lambda then: then.name)
def test_the_rows_are_compressed_as_a_table_in_our_order(then, tmp_path: Path, monkeypatch) -> None:
    compressor = Given("small", READY, then)
    payload = compressed(compressor)
    alone = compressed(then, EmbeddingTable(SMALL[:N]))
    np.testing.assert_array_equal(decode(payload), decode(alone))
    assert payload.nbytes == alone.nbytes == compressor.nbytes(N, D)
    assert not compressor.keeps_dimension and not payload.aligned
    example = Example(payload, decode(alone), exact=not isinstance(then, Spectral))
    check_everywhere(example)
    check_stored(example, tmp_path)
    check_chunks(example, monkeypatch)


def test_only_the_tokens_of_the_table_matter() -> None:
    other = EmbeddingTable(gaussian(N, D, seed=3), TOKENS)
    compressor = Given("small", READY, ByteCodebook(2))
    np.testing.assert_array_equal(decode(compressed(compressor)), decode(compressed(compressor, other)))


@pytest.mark.parametrize("k", [1, 3, 6])
def test_eos_of_the_tables_own_principal_components(k: int) -> None:
    factor = decode(compressed(PCA(dim=k)))
    ready = EmbeddingTable(factor[::-1], TOKENS[::-1])
    scores = score(TABLE, compressed(Given("pca", ready)))
    assert scores["eos"] == pytest.approx(k / D, abs=1e-6)
    assert not {"reconstruction_error", "mean_cosine"} & scores.keys()


@given(st.permutations(range(N + 5)))
def test_the_order_of_the_given_table_does_not_matter(order: list[int]) -> None:
    ready = EmbeddingTable(SMALL[order], [f"t{i}" for i in order])
    np.testing.assert_array_equal(decode(compressed(Given("small", ready))), SMALL[:N])


def test_tokens_that_do_not_match_are_named() -> None:
    ready = EmbeddingTable(SMALL[:33], [*TOKENS[:32], "T32"])
    message = (
        r"^Given small: its table lacks 8 of 40 tokens \(first: 't32', 't33', 't34', 't35', 't36'\): "
        r"give one of the whole vocabulary, or drop them with table\.keep$"
    )
    with pytest.raises(ValueError, match=message):
        compressed(Given("small", ready))


def test_tokens_are_needed_on_both_sides() -> None:
    with pytest.raises(ValueError, match=r"^Given small: its table has no tokens to match rows by: give them as its"):
        Given("small", EmbeddingTable(SMALL))
    message = r"^Given small: the table to compress has no tokens .*give them as table\.tokens=FILE$"
    with pytest.raises(ValueError, match=message):
        compressed(Given("small", READY), EmbeddingTable(TABLE.vectors))
    with pytest.raises(ValueError, match=message):
        Given("small", READY).compress(ProjectedTable(TABLE, np.eye(D, dtype=np.float32)), np.random.default_rng(0))


def test_refuses_more_columns_than_the_table_has() -> None:
    assert Given("same", TABLE).nbytes(N, D) == N * D * 4
    message = r"^Given wide: its table has 6 columns, the table to compress 5: give one of as many or fewer$"
    with pytest.raises(ValueError, match=message):
        Given("wide", TABLE).nbytes(N, 5)


# From a configuration.


def settings(folder: Path, **more: object) -> dict[str, object]:
    np.save(folder / "small.npy", READY.vectors)
    (folder / "small.txt").write_text("\n".join(READY.tokens or ()), encoding="utf-8")
    table = {
        "_target_": "eigenselect.selector.sources.read_table",
        "path": str(folder / "small.npy"),
        "tokens": str(folder / "small.txt"),
    }
    return {"_target_": "eigenselect.compressors.Given", "label": "small", "table": table, **more}


def test_a_pool_reads_the_table(tmp_path: Path) -> None:
    then = [
        {"_target_": "eigenselect.compressors.Identity"},
        {"_target_": "eigenselect.compressors.KMeans", "bits": [2, 4]},
    ]
    made = expand({"ready": settings(tmp_path, then=then)})
    assert [each.name for each in made] == ["given-small", "given-small-kmeans-b2", "given-small-kmeans-b4"]
    np.testing.assert_array_equal(decode(compressed(made[0])), SMALL[:N])
    with pytest.raises(ValueError, match=r"^candidates\.pool\.ready: .*nowhere\.npy: no such file"):
        expand(
            {
                "ready": settings(tmp_path)
                | {"table": {"_target_": "eigenselect.selector.sources.read_table", "path": "nowhere.npy"}}
            }
        )


def test_a_result_is_known_again_by_the_content_of_the_table(tmp_path: Path) -> None:
    (made,) = expand({"ready": settings(tmp_path)})
    found = parameters(made)
    assert found == {"label": "small", "table": table_digest(READY), "then": "Identity", "then.dtype": "float32"}
    keys = {candidate_key("Given", found, "", "", 0, [1])}
    assert candidate_key("Given", parameters(Given("small", READY)), "", "", 0, [1]) in keys
    other = EmbeddingTable(READY.vectors * np.float32(2), READY.tokens)
    assert candidate_key("Given", parameters(Given("small", other)), "", "", 0, [1]) not in keys
