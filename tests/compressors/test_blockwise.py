from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from eigenselect.compressors import Blockwise, EmbeddingTable
from eigenselect.compressors.methods.blockwise import NF4
from eigenselect.selector.measures import score
from tests.cases import decode, gaussian

WORDPIECE = (
    Path(__file__).resolve().parents[3] / "shared" / "data" / "embeddings" / "minilm_l6_wordpiece_384d.fp16.safetensors"
)


def levels_of(block: np.ndarray, scheme: str, bits: int) -> np.ndarray:
    """Every value that an entry of this block may decode to, by the definitions."""
    if scheme == "nf4":
        return np.abs(block).max() * NF4.astype(np.float64)
    if scheme == "absmax":
        top = 2 ** (bits - 1) - 1
        return np.abs(block).max() / top * np.arange(-top - 1, top + 1)
    return np.linspace(block.min(), block.max(), 2**bits)


@pytest.mark.parametrize("block", [None, 16, 32])
@pytest.mark.parametrize(("scheme", "bits"), [("absmax", 2), ("absmax", 8), ("minmax", 2), ("minmax", 4), ("nf4", 4)])
def test_every_entry_goes_to_the_nearest_level_of_its_block(scheme: str, bits: int, block: int | None) -> None:
    table = gaussian(60, 40)
    payload = Blockwise(bits, scheme, block, "float32").compress(EmbeddingTable(table), np.random.default_rng(0))
    decoded, width = decode(payload), block or 40
    for i in range(0, 40, width):
        for row, got in zip(table[:, i : i + width].astype(np.float64), decoded[:, i : i + width], strict=True):
            best = np.abs(row[:, None] - levels_of(row, scheme, bits)).min(axis=1)
            np.testing.assert_allclose(np.abs(row - got), best, atol=2e-6 * np.abs(row).max())


def test_a_row_of_one_value_is_exact_and_zero_stays_zero() -> None:
    table = np.zeros((20, 16), np.float32)
    table[3], table[5, 2] = 0.25, 8
    for scheme in ("minmax", "absmax", "nf4"):
        payload = Blockwise(4, scheme, scales="float32").compress(EmbeddingTable(table), np.random.default_rng(0))
        np.testing.assert_allclose(decode(payload), table, atol=0 if scheme == "minmax" else 1e-6)


@pytest.mark.parametrize(("n", "factor"), [(60, 1e6), (60, 1e-7)])
def test_offsets_that_float16_cannot_hold_are_refused(n: int, factor: float) -> None:
    table = EmbeddingTable(gaussian(n, 20) * np.float32(factor))
    with pytest.raises(ValueError, match=r"offsets of up to .* do not fit float16: use scales=float32"):
        Blockwise(8, "minmax").compress(table, np.random.default_rng(0))


def test_nf4_levels_are_the_published_ones() -> None:
    assert len(NF4) == 16 and NF4[7] == 0 and NF4[0] == -1 and NF4[-1] == 1 and (np.diff(NF4) > 0).all()
    # arXiv 2305.14314, App. E prints these digits.
    assert NF4[3] == np.float32(-0.39491748809814453) and NF4[12] == np.float32(0.44070982933044434)


# (scheme, bits, block): EOS and relative error on the WordPiece table, measured independently of this code.
REFERENCE = {
    ("absmax", 8, None): (0.9999, 0.007),
    ("absmax", 4, 32): (0.9845, 0.092),
    ("nf4", 4, 64): (0.9822, 0.092),
}


@pytest.mark.data
@pytest.mark.parametrize(("scheme", "bits", "block"), REFERENCE)
def test_reference_values(scheme: str, bits: int, block: int | None) -> None:
    if not WORDPIECE.exists():
        pytest.skip(f"needs {WORDPIECE.name} in ../shared/data")
    (vectors,) = load_file(WORDPIECE).values()
    table = EmbeddingTable(vectors)
    scores = score(table, Blockwise(bits, scheme, block).compress(table, np.random.default_rng(0)))
    eos, error = REFERENCE[scheme, bits, block]
    assert scores["eos"] > eos - 0.01
    assert scores["reconstruction_error_relative"] < error * 1.1


@pytest.mark.parametrize(
    ("settings", "nbytes"),
    [
        (Blockwise(8), 10 * (40 + 2) + 1024),
        (Blockwise(4, "minmax", 16, "float32"), 10 * (20 + 3 * 8) + 64),
        (Blockwise(4, "nf4", 64), 10 * (20 + 2) + 64),
    ],
)
def test_nbytes_by_hand(settings: Blockwise, nbytes: int) -> None:
    assert settings.nbytes(10, 40) == nbytes
