"""Tensor trains: against dense TT-SVDs, the bound of Oseledets 2011, and what fine-tuning promises."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

import eigenselect.compressors.methods.tensor_train.unfolding
from eigenselect.compressors import TTSVD, EmbeddingTable
from eigenselect.compressors.methods.tensor_train import digits
from eigenselect.compressors.methods.tensor_train.unfolding import Unfolding
from eigenselect.compressors.payloads.tensor_train import TensorTrain
from eigenselect.selector.measures import score
from tests.cases import decode, gaussian

WORDPIECE = Path(__file__).resolve().parents[3] / "shared/data/embeddings/minilm_l6_wordpiece_384d.fp16.safetensors"

REFERENCE = {(8, 3): (0.163, 0.900), (33, 3): (0.057, 0.966), (8, 2): (0.178, 0.892), (8, 4): (0.178, 0.892)}
"""Rate and cores -> EOS and relative error on the WordPiece table."""

TABLE = EmbeddingTable(gaussian(300, 13))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def trained(method: TTSVD, table: EmbeddingTable = TABLE, seed: int = 0) -> TensorTrain:
    payload = method.compress(table, rng(seed))
    assert isinstance(payload, TensorTrain)
    return payload


def error_of(payload: TensorTrain, table: EmbeddingTable = TABLE) -> float:
    """Of all entries that the digits address, those beyond n and d with them: what the method makes small."""
    rows, columns = (math.prod(core.shape[axis] for core in payload.cores) for axis in (0, 2))
    difference = decode(TensorTrain(payload.cores, rows, columns)).astype(np.float64)
    difference[: table.n, : table.d] -= table.vectors
    return float(np.linalg.norm(difference))


def tensor(vectors: np.ndarray, cores: int) -> np.ndarray:
    """(n_1 d_1, ..., n_k d_k) float64: the padded table with the digits of ids and columns in pairs."""
    rows, columns = digits(len(vectors), cores), digits(vectors.shape[1], cores)
    padded = np.zeros((math.prod(rows), math.prod(columns)))
    padded[: len(vectors), : vectors.shape[1]] = vectors
    axes = [axis for i in range(cores) for axis in (i, cores + i)]
    return padded.reshape(*rows, *columns).transpose(axes).reshape([a * b for a, b in zip(rows, columns, strict=True)])


def tails(vectors: np.ndarray, method: TTSVD) -> list[float]:
    """At each bond what the best approximation of its rank leaves, ‖A_i − (A_i)_r‖."""
    whole = tensor(vectors, method.cores)
    left = np.cumprod(whole.shape[:-1])
    found = []
    for rank, rows in zip(method.bonds(*vectors.shape)[1:-1], left, strict=True):
        singular = np.linalg.svd(whole.reshape(rows, -1), compute_uv=False)
        found.append(float(np.linalg.norm(singular[rank:])))
    return found


def dense_tt_svd(vectors: np.ndarray, method: TTSVD) -> float:
    """The error of TT-SVD, algorithm 1 of Oseledets 2011 from the last core to the first, by direct SVDs."""
    whole = tensor(vectors, method.cores)
    ranks = method.bonds(*vectors.shape)
    rest, cores = whole, []
    for i in range(method.cores - 1, 0, -1):
        u, s, vt = np.linalg.svd(rest.reshape(-1, whole.shape[i] * ranks[i + 1]), full_matrices=False)
        cores.insert(0, vt[: ranks[i]].reshape(ranks[i], whole.shape[i], ranks[i + 1]))
        rest = u[:, : ranks[i]] * s[: ranks[i]]
    product = rest
    for core in cores:
        product = np.tensordot(product, core, axes=1)
    return float(np.linalg.norm(product.reshape(whole.shape) - whole))


# --- digits and ranks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        (1, 4, (1, 1, 1, 1)),
        (7, 2, (3, 3)),
        (501, 4, (6, 4, 4, 6)),
        (12, 2, (3, 4)),
        (13, 3, (3, 2, 3)),
        (384, 3, (8, 6, 8)),
        (384, 4, (4, 4, 4, 6)),
        (300, 3, (6, 6, 9)),
        (400_000, 2, (625, 640)),
        (400_000, 3, (73, 63, 87)),
        (30_522, 4, (14, 12, 13, 14)),
    ],
)
def test_digits_by_hand(size: int, count: int, expected: tuple[int, ...]) -> None:
    assert digits(size, count) == expected


@given(st.integers(1, 2000), st.integers(2, 4))
def test_digits_are_the_smallest_product_of_sizes_that_are_alike(size: int, count: int) -> None:
    found = digits(size, count)
    top = math.ceil(size ** (1 / count) - 1e-9)

    def alike(sizes: tuple[int, ...]) -> bool:
        return max(sizes) <= max(1.5 * min(sizes), min(sizes) + 1)

    every = itertools.combinations_with_replacement(range(1, int(1.5 * top) + 2), count)
    products = [math.prod(sizes) for sizes in every if alike(sizes)]
    assert alike(found)
    assert math.prod(found) == min(product for product in products if product >= size)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_digits_pad_little(count: int) -> None:
    for size in (50, 128, 300, 384, 768, 1024, 4096, 30_522, 50_257, 400_000, 3_000_000):
        assert math.prod(digits(size, count)) <= size * (1.3 if size < 1000 else 1.03)


@pytest.mark.parametrize("cores", [2, 3, 4])
@pytest.mark.parametrize("rate", [1, 2, 3.7, 8, 33, 1e6])
@pytest.mark.parametrize("shape", [(300, 13), (1000, 64), (13, 13), (5, 1), (1, 1)])
def test_rank_is_the_largest_within_the_rate(cores: int, rate: float, shape: tuple[int, int]) -> None:
    modes = [a * b for a, b in zip(digits(shape[0], cores), digits(shape[1], cores), strict=True)]
    trains = []
    for rank in range(1, math.prod(modes) + 1):
        ranks = [min(rank, math.prod(modes[:i]), math.prod(modes[i:])) for i in range(cores + 1)]
        trains.append((4 * sum(ranks[i] * modes[i] * ranks[i + 1] for i in range(cores)), tuple(ranks)))
        if rank > 1 and trains[-1] == trains[-2]:
            break
    budget = 4 * shape[0] * shape[1] / rate
    expected = max([train for train in trains if train[0] <= budget], default=trains[0])
    method = TTSVD(rate, cores)
    assert (method.nbytes(*shape), method.bonds(*shape)) == expected


def test_nbytes_by_hand() -> None:
    # Digits (6, 6, 9) and (3, 2, 3): modes 18, 12, 27; 45r + 12r² <= 3900 / 3 for r = 8.
    method = TTSVD(3)
    assert method.bonds(300, 13) == (1, 8, 8, 1)
    assert method.nbytes(300, 13) == 4 * (45 * 8 + 12 * 64)


# --- the approximation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [2048, 1])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_full_rank_is_the_table(cores: int, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigenselect.compressors.methods.tensor_train.unfolding, "EXACT_SIDE", side)
    modes = tensor(TABLE.vectors, cores).shape
    full = tuple(min(math.prod(modes[:i]), math.prod(modes[i:])) for i in range(cores + 1))
    monkeypatch.setattr(TTSVD, "bonds", lambda self, n, d: full)
    for sweeps in (0, 1):
        payload = trained(TTSVD(1, cores, sweeps))
        assert error_of(payload) <= 1e-5 * np.linalg.norm(TABLE.vectors)


@pytest.mark.parametrize("cores", [2, 3, 4])
def test_a_train_of_no_higher_rank_is_found_again(cores: int) -> None:
    method = TTSVD(4, cores)
    ranks = [min(3, rank) for rank in method.bonds(300, 13)]
    shapes = zip(digits(300, cores), ranks[:-1], digits(13, cores), ranks[1:], strict=True)
    slices = tuple(rng(i).standard_normal(shape, dtype=np.float32) for i, shape in enumerate(shapes))
    table = EmbeddingTable(decode(TensorTrain(slices, math.prod(digits(300, cores)), 13)))
    assert digits(table.n, cores) == digits(300, cores)
    assert error_of(trained(method, table), table) <= 1e-5 * np.linalg.norm(table.vectors)


@pytest.mark.parametrize("rate", [1.5, 3, 8, 20])
@pytest.mark.parametrize("cores", [2, 3])
def test_error_is_that_of_a_dense_tt_svd(cores: int, rate: float) -> None:
    method = TTSVD(rate, cores)
    assert error_of(trained(method)) == pytest.approx(dense_tt_svd(TABLE.vectors, method), rel=1e-5)


@pytest.mark.parametrize("rate", [1.5, 3, 8, 20])
def test_four_cores_are_truncated_in_another_order_and_no_worse(rate: float) -> None:
    method = TTSVD(rate, 4)
    assert error_of(trained(method)) <= 1.001 * dense_tt_svd(TABLE.vectors, method)


@pytest.mark.parametrize("rate", [1.5, 3, 8, 20])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_error_is_within_the_bound(cores: int, rate: float) -> None:
    method = TTSVD(rate, cores)
    error, parts = error_of(trained(method)), tails(TABLE.vectors, method)
    # Oseledets 2011, theorem 2.2, and what no train of these ranks can be better than.
    assert max(parts) * (1 - 1e-6) <= error <= np.linalg.norm(parts) * (1 + 1e-6)


@pytest.mark.parametrize("sweeps", [0, 1])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_all_cores_but_one_are_orthonormal(cores: int, sweeps: int) -> None:
    payload = trained(TTSVD(3, cores, sweeps))
    found = []
    for core in payload.cores:
        m, before, d, after = core.shape
        left = core.reshape(m * before * d, after).astype(np.float64)
        right = core.transpose(0, 2, 3, 1).reshape(m * d * after, before).astype(np.float64)
        sides = [np.abs(side.T @ side - np.eye(side.shape[1])).max() <= 1e-5 for side in (left, right)]
        found.append(tuple(sides))
    weighted = [i for i, sides in enumerate(found) if not any(sides)]
    assert len(weighted) == 1
    assert all(left for left, _ in found[: weighted[0]])
    assert all(right for _, right in found[weighted[0] + 1 :])


@pytest.mark.parametrize("cores", [2, 3, 4])
def test_the_unit_is_the_largest_entry(cores: int) -> None:
    method = TTSVD(3, cores, sweeps=1)
    small = EmbeddingTable(TABLE.vectors * np.float32(2**-90))
    np.testing.assert_array_equal(decode(trained(method, small)), decode(trained(method)) * np.float32(2**-90))


@pytest.mark.parametrize("cores", [2, 3, 4])
def test_float16_is_read_as_what_it_says(cores: int) -> None:
    half = TABLE.vectors.astype(np.float16)
    narrow, wide = (trained(TTSVD(3, cores), EmbeddingTable(v)) for v in (half, half.astype(np.float32)))
    np.testing.assert_array_equal(decode(narrow), decode(wide))


# --- unfoldings and subspaces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cores", "cut"), [(2, 1), (3, 1), (3, 2), (4, 2)])
def test_an_unfolding_is_read_in_any_blocks(cores: int, cut: int) -> None:
    unfolding = Unfolding(TABLE, digits(300, cores), digits(13, cores), cut)
    rows, columns = unfolding.rows, unfolding.columns
    padded = np.zeros((math.prod(rows), math.prod(columns)))
    padded[:300, :13] = TABLE.vectors
    axes = (*range(cut), *range(cores, cores + cut), *range(cut, cores), *range(cores + cut, 2 * cores))
    expected = padded.reshape(*rows, *columns).transpose(axes).reshape(unfolding.n, unfolding.d)
    for step in (1, 5, 17, unfolding.n):
        spans = (slice(start, min(start + step, unfolding.n)) for start in range(0, unfolding.n, step))
        found = np.concatenate([unfolding.read(span) for span in spans])
        np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("rate", [2, 8])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_an_iterated_subspace_is_nearly_the_best(cores: int, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    table = EmbeddingTable(gaussian(3000, 40))
    method = TTSVD(rate, cores)
    exact = error_of(trained(method, table), table)
    monkeypatch.setattr(eigenselect.compressors.methods.tensor_train.unfolding, "EXACT_SIDE", 1)
    payloads = [trained(method, table, seed) for seed in (0, 0, 1)]
    for payload in payloads:
        assert abs(error_of(payload, table) / exact - 1) <= 0.03
    arrays = [b"".join(core.tobytes() for core in payload.cores) for payload in payloads]
    assert arrays[0] == arrays[1] != arrays[2]


# --- fine-tuning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [2048, 1])
@pytest.mark.parametrize("rate", [2, 8])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_sweeps_never_raise_the_error(cores: int, rate: float, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigenselect.compressors.methods.tensor_train.unfolding, "EXACT_SIDE", side)
    errors = [error_of(trained(TTSVD(rate, cores, sweeps))) for sweeps in range(6)]
    assert all(more <= fewer * (1 + 1e-6) for fewer, more in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("rate", [2, 8])
def test_sweeps_lower_the_error_where_there_are_three_cores(rate: float) -> None:
    before, after = (error_of(trained(TTSVD(rate, 3, sweeps))) for sweeps in (0, 4))
    assert after <= 0.999 * before
    assert after >= max(tails(TABLE.vectors, TTSVD(rate, 3)))


def test_sweeps_end_at_a_fixed_point() -> None:
    errors = [error_of(trained(TTSVD(8, 3, sweeps))) for sweeps in (200, 201)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-6)


def test_no_time_gives_the_tt_svd() -> None:
    limited, plain = trained(TTSVD(3, sweeps=9, time_limit=0)), trained(TTSVD(3))
    for a, b in zip(limited.cores, plain.cores, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("limit", "sweeps"), [(2.5, 1), (4.5, 2)])
def test_time_ends_between_updates(limit: float, sweeps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trained(TTSVD(3, sweeps=sweeps))
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))  # a second for each look at the clock
    limited = trained(TTSVD(3, sweeps=9, time_limit=limit))
    for a, b in zip(limited.cores, plain.cores, strict=True):
        np.testing.assert_array_equal(a, b)


def test_enough_time_changes_nothing() -> None:
    for a, b in zip(trained(TTSVD(3, sweeps=2, time_limit=1e6)).cores, trained(TTSVD(3, sweeps=2)).cores, strict=True):
        np.testing.assert_array_equal(a, b)


# --- settings ---------------------------------------------------------------------------------------------------------


# --- the real table ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("rate", "cores"), REFERENCE)
def test_reference_values(rate: float, cores: int) -> None:
    if not WORDPIECE.exists():
        pytest.skip(f"needs {WORDPIECE.name} in ../shared/data")
    (vectors,) = load_file(WORDPIECE).values()
    table = EmbeddingTable(vectors.astype(np.float32))
    scores = score(table, trained(TTSVD(rate, cores), table))
    eos, error = REFERENCE[rate, cores]
    assert scores["eos"] > eos - 0.003
    assert scores["reconstruction_error_relative"] < error + 0.003
