from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from eigenselect.compressors import ByteCodebook, EmbeddingTable, Identity, KMeans, Spectral, Uniform
from eigenselect.compressors.data.views import ProjectedTable
from eigenselect.selector.measures import score
from tests.cases import decode, gaussian

WORDPIECE = (
    Path(__file__).resolve().parents[3] / "shared" / "data" / "embeddings" / "minilm_l6_wordpiece_384d.fp16.safetensors"
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("whitening", [0, 0.5, 1])
@pytest.mark.parametrize("norm", ["float16", "uint8", "none"])
def test_without_quantization_the_table_comes_back(whitening: float, norm: str) -> None:
    table = gaussian(500, 20)
    payload = Spectral(whitening, norm, Identity("float32")).compress(EmbeddingTable(table), rng())
    error = np.linalg.norm(decode(payload) - table) / np.linalg.norm(table)
    # float16 rounds by up to 2^-11; 256 levels hold 500 row lengths less closely.
    assert error < (2e-2 if norm == "uint8" else 2**-10)


@pytest.mark.parametrize("whitening", [0, 0.5, 1])
def test_the_quantizer_sees_columns_whitened_and_rotated(whitening: float) -> None:
    table = gaussian(2000, 12)
    sigma = np.linalg.svd(table.astype(np.float64), compute_uv=False)
    part = Spectral(whitening, "none", Identity("float32")).compress(EmbeddingTable(table), rng()).part
    found = np.linalg.svd(decode(part).astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(found / found[0], sigma ** (1 - whitening) / sigma[0] ** (1 - whitening), rtol=1e-4)
    columns = np.linalg.norm(decode(part), axis=0)
    assert columns.max() < 2 * columns.min(), "a rotation leaves no column far larger than another"


def test_row_scales_are_the_best_ones() -> None:
    table = gaussian(300, 16)
    payload = Spectral(0, "float16", KMeans(2)).compress(EmbeddingTable(table), rng())
    errors = np.linalg.norm(decode(payload) - table, axis=1)
    codes = decode(payload.part.part) @ payload.matrix.astype(np.float32)
    for factor in (0.98, 1.02):  # at α = 0 the matrix is a rotation: a row's error in Z is its error in X
        other = np.linalg.norm(codes * decode(payload.part.scale) * factor - table, axis=1)
        assert (other >= errors * (1 - 1e-3)).all()


def test_zero_rows_stay_zero_and_lost_directions_stay_lost() -> None:
    table = gaussian(300, 10)
    table[5], table[:, 9] = 0, table[:, 2]
    payload = Spectral(then=ByteCodebook(4)).compress(EmbeddingTable(table), rng())
    decoded = decode(payload)
    assert not decoded[5].any()
    assert np.linalg.matrix_rank(decoded, tol=1e-2 * np.linalg.norm(decoded, 2)) == 9


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_beats_uniform_at_equal_bits_in_overlap_and_in_error(bits: int) -> None:
    table = EmbeddingTable(gaussian(5000, 32) @ np.diag(np.geomspace(3, 0.3, 32)).astype(np.float32))
    ours = score(table, Spectral(then=ByteCodebook(bits)).compress(table, rng()))
    uniform = score(table, Uniform(bits).compress(table, rng()))
    assert 1 - ours["eos"] < 0.86 * (1 - uniform["eos"])
    assert ours["reconstruction_error_relative"] < 0.9 * uniform["reconstruction_error_relative"]


@pytest.fixture(scope="module")
def wordpiece() -> EmbeddingTable:
    if not WORDPIECE.exists():
        pytest.skip(f"needs {WORDPIECE.name} in ../shared/data")
    (vectors,) = load_file(WORDPIECE).values()
    return EmbeddingTable(vectors)


# EOS and relative error of learned codebooks on the WordPiece table, measured independently of this code.
REFERENCE = {(1, 1): (0.682, 0.567), (1, 2): (0.904, 0.312), (1, 4): (0.9915, 0.093), (0, 2): (0.840, 0.312)}


@pytest.mark.data
@pytest.mark.parametrize(("whitening", "bits"), REFERENCE)
def test_reference_values(whitening: float, bits: int, wordpiece: EmbeddingTable) -> None:
    scores = score(wordpiece, Spectral(whitening, then=ByteCodebook(bits)).compress(wordpiece, rng()))
    eos, error = REFERENCE[whitening, bits]
    assert scores["eos"] > eos - 0.003
    assert scores["reconstruction_error_relative"] < error + 0.003


@pytest.mark.data
@pytest.mark.slow
def test_half_whitening_reconstructs_best(wordpiece: EmbeddingTable) -> None:
    some = EmbeddingTable(wordpiece.read(np.arange(0, wordpiece.n, 6)))
    errors = {
        whitening: score(some, Spectral(whitening, then=ByteCodebook(2)).compress(some, rng()))["reconstruction_error"]
        for whitening in (0, 0.5, 1)
    }
    assert min(errors, key=lambda whitening: errors[whitening]) == 0.5


def test_nbytes_by_hand() -> None:
    packed = 10 * 4 + 4096
    assert Spectral().nbytes(10, 13) == packed + 2 * 13 * 13 + 2 * 10
    assert Spectral(norm="uint8").nbytes(10, 13) == packed + 2 * 13 * 13 + 10 + 1024
    assert Spectral(norm="uint2").nbytes(10, 13) == packed + 2 * 13 * 13 + 3 + 16
    assert Spectral(norm="none").nbytes(10, 13) == packed + 2 * 13 * 13
    assert Spectral(norm="none", matrix=KMeans(4)).nbytes(10, 13) == packed + 13 * 7 + 4 * 16


def test_folded_is_the_same_without_the_matrix() -> None:
    table = EmbeddingTable(gaussian(300, 13))
    whole, folded = Spectral(then=ByteCodebook(4)), Spectral(then=ByteCodebook(4), fold=True)
    assert not folded.keeps_dimension
    assert folded.nbytes(300, 13) == whole.nbytes(300, 13) - 2 * 13 * 13
    payload = folded.compress(table, rng())
    assert not payload.aligned
    matrix = folded.decode_matrix(table, rng())
    assert matrix is not None
    np.testing.assert_allclose(
        decode(payload) @ matrix.astype(np.float32), decode(whole.compress(table, rng())), rtol=1e-5, atol=1e-6
    )
    assert whole.decode_matrix(table, rng()) is None
    assert score(table, payload)["eos"] == pytest.approx(score(table, whole.compress(table, rng()))["eos"], abs=1e-6)


@pytest.mark.parametrize("levels", [KMeans(4), KMeans(8)])
def test_a_matrix_of_few_levels_is_inverted_exactly(levels: KMeans) -> None:
    table = gaussian(500, 20)
    payload = Spectral(0.5, "none", Identity("float32"), matrix=levels).compress(EmbeddingTable(table), rng())
    assert len(np.unique(decode(payload.matrix))) <= 1 << levels.bits
    assert np.linalg.norm(decode(payload) - table) < 1e-4 * np.linalg.norm(table)


def test_rows_are_divided_by_one_of_four_scales() -> None:
    lengths = np.random.default_rng(1).choice([0.3, 1, 2, 4], (2000, 1)).astype(np.float32)
    table = EmbeddingTable(gaussian(2000, 16) * lengths)
    errors = {}
    for norm in ("float16", "uint2", "none"):
        payload = Spectral(0, norm, ByteCodebook(2)).compress(table, rng())
        errors[norm] = score(table, payload)["reconstruction_error"]
    assert errors["uint2"] < 0.96 * errors["none"]
    assert errors["uint2"] < 1.1 * errors["float16"]
    scales = decode(Spectral(0, "uint2", ByteCodebook(2)).compress(table, rng()).part.scale)
    assert len(np.unique(scales)) == 4 and scales.max() / scales.min() == pytest.approx(4 / 0.3, rel=0.2)


@pytest.mark.parametrize("p", [0, 1, 2, 3])
def test_the_best_whitening_for_a_criterion_is_one_less_a_quarter_of_its_power(p: float) -> None:
    """Errors of a rotated code are alike in all directions of Z; what each counts, σᵖ⁻², decides how far to whiten."""
    draws = np.random.default_rng(p)
    sigma = np.exp(draws.normal(0, 0.4, 48))
    basis = np.linalg.qr(draws.standard_normal((48, 48)))[0]
    table = EmbeddingTable((draws.standard_normal((2000, 48)) * sigma @ basis.T).astype(np.float32))
    s, v = table.spectrum
    grid, losses = np.linspace(0, 1, 7), []
    for whitening in grid:
        payload = Spectral(whitening, "none", KMeans(6)).compress(table, rng())
        errors = (((decode(payload) - table.vectors) @ v) ** 2).sum(axis=0)
        losses.append((errors * s ** (p - 2)).sum())
    # Up to the code's own relative error, which is some percent more where rotated columns are less alike.
    law = [(s ** (p - 2 + 2 * a)).mean() * (s ** (2 - 2 * a)).mean() for a in grid]
    assert np.divide(losses, law) / np.mean(np.divide(losses, law)) == pytest.approx(1, abs=0.1)
    fine = np.linspace(0, 1, 101)
    assert fine[np.polynomial.Polynomial.fit(grid, np.log(losses), 4)(fine).argmin()] == pytest.approx(
        1 - p / 4, abs=0.12
    )
    assert fine[np.argmin([(s ** (p - 2 + 2 * a)).mean() * (s ** (2 - 2 * a)).mean() for a in fine])] == 1 - p / 4


def test_candidates_share_what_they_make_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[slice] = []
    real = ProjectedTable.read
    monkeypatch.setattr(ProjectedTable, "read", lambda self, rows: read.append(rows) or real(self, rows))
    table = EmbeddingTable(gaussian(500, 20))
    methods = [
        Spectral(then=ByteCodebook(2)),
        Spectral(norm="uint8", then=ByteCodebook(4)),
        Spectral(1, then=KMeans(2)),
    ]
    passes = []
    for method in methods:
        alone = method.compress(EmbeddingTable(gaussian(500, 20)), rng())
        read.clear()
        shared = method.compress(table, rng())
        passes.append(len(read))
        for name, array in alone.arrays().items():
            np.testing.assert_array_equal(shared.arrays()[name], array, strict=True)
    assert passes == [5, 3, 5], "lengths, the largest entry, a sample, codes and scales; the first two are known then"
    for whitening in (0, 0.25, 0.75):
        Spectral(whitening, then=KMeans(2)).compress(table, rng())
    assert len(vars(table)["_made"]) == 4, "the oldest go"
    assert "_made" not in vars(pickle.loads(pickle.dumps(table)))
