"""EOS on the WordPiece table of MiniLM (30,522 x 384), against values measured independently of this code."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from eigenselect.compressors import PCA, Blockwise, Compressor, EmbeddingTable, KMeans, Spectral, TrellisCode, Uniform
from eigenselect.selector.measures import score

WORDPIECE = Path(__file__).resolve().parents[2] / "shared/data/embeddings/minilm_l6_wordpiece_384d.fp16.safetensors"

REFERENCE: list[tuple[Compressor, float]] = [
    (Blockwise(8), 0.9999),
    (Blockwise(4, block=32), 0.9845),  # of the similar q4_0, whose scales are signed
    (Blockwise(4, "nf4", block=64), 0.9822),
    (Spectral(1, norm="none", then=Uniform(4)), 0.9865),
    (Spectral(1, then=KMeans(4)), 0.9907),
    (Spectral(0, then=KMeans(4)), 0.9802),
    (KMeans(4), 0.9778),
    (Uniform(4), 0.9724),
    (Uniform(3), 0.922),
    (Spectral(1, then=KMeans(2)), 0.8847),
    (Uniform(2), 0.798),
    (KMeans(2), 0.798),
    (Spectral(1, then=KMeans(1)), 0.6419),
    (Uniform(1), 0.531),
    (PCA(48), 0.125),
]

BEYOND: list[tuple[Compressor, float, float]] = [
    # EOS that trellis codes are to reach, and the relative error of a learned byte codebook at the same bits
    (Spectral(1, then=TrellisCode(1)), 0.72, 0.567),
    (Spectral(1, then=TrellisCode(2)), 0.92, 0.312),
    (Spectral(then=TrellisCode(1)), 0.69, 0.54),
    (Spectral(then=TrellisCode(2)), 0.90, 0.289),
]


@cache
def wordpiece() -> EmbeddingTable:
    if not WORDPIECE.exists():
        pytest.skip(f"needs {WORDPIECE.name} in ../shared/data")
    (vectors,) = load_file(WORDPIECE).values()
    return EmbeddingTable(vectors.astype(np.float32))


def scores(compressor: Compressor) -> dict[str, float]:
    return score(wordpiece(), compressor.compress(wordpiece(), np.random.default_rng(0)))


EVERY = [*REFERENCE[::2], *(pytest.param(*each, marks=pytest.mark.slow) for each in REFERENCE[1::2])]


@pytest.mark.data
@pytest.mark.parametrize(("compressor", "eos"), EVERY, ids=lambda value: getattr(value, "name", None))
def test_no_method_is_worse_than_its_reference(compressor: Compressor, eos: float) -> None:
    assert scores(compressor)["eos"] > eos - 0.01


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("compressor", "eos", "error"), BEYOND, ids=lambda value: getattr(value, "name", None))
def test_trellis_codes_take_more_of_the_room(compressor: Compressor, eos: float, error: float) -> None:
    found = scores(compressor)
    assert found["eos"] >= eos and found["reconstruction_error_relative"] < error
