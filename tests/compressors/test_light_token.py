from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from eigenselect.compressors import EmbeddingTable, LightToken
from eigenselect.compressors.methods import light_token
from eigenselect.compressors.methods.light_token.autoencoder import Stage, flip, loss, products, solve, start, train
from eigenselect.compressors.payloads.composed import Projected, Sum
from eigenselect.compressors.training import generator
from eigenselect.selector.measures import score
from tests.cases import decode, gaussian

WORDPIECE = (
    Path(__file__).resolve().parents[3] / "shared" / "data" / "embeddings" / "minilm_l6_wordpiece_384d.fp16.safetensors"
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def signs(n: int, m: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1, 1], (n, m)).astype(np.float32)


def of_codes(n: int = 3000, m: int = 16, d: int = 24) -> np.ndarray:
    """Sums of m random vectors with random signs: what codes of m bits could hold without error."""
    return signs(n, m) @ np.random.default_rng(1).standard_normal((m, d)).astype(np.float32)


def squares(found: np.ndarray) -> float:
    return float(np.square(found, dtype=np.float64).sum())


# --- size -------------------------------------------------------------------------------------------------------------


def test_bits_and_bytes_by_hand() -> None:
    # 4 * 1000 * 100 / 8 = 50000; 2 * 2 * 1100 + 8 = 4408 for A, B and the codebook; 1000 + 1600 for each 8 bits.
    method = LightToken(rate=8, dim=2)
    assert method.bits(1000, 100) == 8 * 17  # 45592 / 2600 = 17.5
    assert method.nbytes(1000, 100) == 4408 + 17 * 2600
    assert LightToken(rate=8, dim=0).bits(1000, 100) == 8 * 19
    assert LightToken(dim=8).bits(30522, 384) == 296


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(0, 20), st.floats(1, 200))
def test_bits_are_the_most_that_fit(n: int, d: int, dim: int, rate: float) -> None:
    assume(dim <= d <= n)
    method = LightToken(rate=rate, dim=dim)
    budget = 4 * n * d / rate
    try:
        m = method.bits(n, d)
    except ValueError:
        assert n * (2 * dim + 1) + 2 * d * (dim + 8) + 8 > budget
        return
    assert m % 8 == 0
    assert method.nbytes(n, d) <= budget < method.nbytes(n, d) + n + 16 * d


def test_a_rate_without_room_for_eight_bits_names_the_limit() -> None:
    with pytest.raises(ValueError, match=r"rate = 25 leaves less than 8 bits .* dim = 8 .* 300 x 13 .* at most (\S+);"):
        LightToken(dim=8).nbytes(300, 13)
    limit = 4 * 300 * 13 / (300 * (2 * 8 + 1) + 2 * 13 * (8 + 8) + 8)
    LightToken(rate=limit * 0.999, dim=8).nbytes(300, 13)
    with pytest.raises(ValueError, match=f"at most {limit:.4g}"):
        LightToken(rate=limit * 1.001, dim=8).nbytes(300, 13)
    with pytest.raises(ValueError, match="dim = 14: must be at most the table's dimension d = 13"):
        LightToken(rate=1, dim=14).nbytes(300, 13)


# --- the parts --------------------------------------------------------------------------------------------------------

rows = st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=2, max_size=2)


@given(rows, st.floats(1, 10))
def test_the_loss_is_the_squared_distance_at_1_and_no_less_above(pair: list[list[float]], alpha: float) -> None:
    x, y = torch.tensor(pair, dtype=torch.float64).split(1)
    distance = (x - y).square().sum().item()
    rounding = 1e-9 * (1 + x.square().sum().item() + y.square().sum().item())
    assert loss(x, y, 1).item() == pytest.approx(distance, abs=rounding)
    assert loss(x, y, alpha).item() >= distance - rounding * alpha


def test_the_loss_weighs_direction_by_alpha() -> None:
    x, y = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert loss(x, y, 2.5).item() == pytest.approx(1 + 2 * 2.5 * 6)
    assert loss(x, 2 * x, 2.5).item() == pytest.approx(9)


@pytest.mark.parametrize("collinear", [False, True])
def test_a_refit_never_raises_the_error(collinear: bool) -> None:
    codes = signs(400, 20)
    left = codes @ gaussian(20, 12) + gaussian(400, 12, seed=1)
    if collinear:
        codes[:, 10:] = codes[:, :10]
    best = solve(products(codes, left))
    oracle = np.linalg.lstsq(codes.astype(np.float64), left.astype(np.float64), rcond=None)[0]
    error = squares(left - codes @ best)
    assert error == pytest.approx(squares(left - codes @ oracle), rel=1e-6)
    generator = rng()
    for size in (1e-3, 1e-1, 1):
        other = best + size * generator.standard_normal(best.shape).astype(np.float32)
        assert squares(left - codes @ other) > error * (1 - 1e-6)


def test_flips_end_where_no_single_flip_helps() -> None:
    left, decoder = gaussian(100, 9), gaussian(12, 9, seed=1) * np.float32(0.3)
    codes = signs(100, 12)
    errors = [np.square(left - codes @ decoder).sum(axis=1)]
    for _ in range(50):
        codes = flip(codes, left, decoder)
        errors.append(np.square(left - codes @ decoder).sum(axis=1))
        assert (errors[-1] <= errors[-2] * (1 + 1e-5)).all()
    assert errors[1].sum() < 0.7 * errors[0].sum()
    for j in range(12):
        other = codes.copy()
        other[:, j] *= -1
        assert (np.square(left - other @ decoder).sum(axis=1) >= errors[-1] * (1 - 1e-5)).all()
    assert np.isin(codes, (-1, 1)).all()


@pytest.mark.parametrize("m", [5, 12, 30])
def test_a_stage_starts_from_a_rotated_pca(m: int) -> None:
    left = gaussian(500, 12)
    stage = start(left, m, rng())
    r = min(m, 12)
    assert stage.weight.shape == stage.decoder.shape == (m, 12)
    span = np.linalg.svd(left.astype(np.float64))[2][:r]
    np.testing.assert_allclose(stage.weight @ span.T @ span, stage.weight, atol=1e-4)
    assert np.square(left @ stage.weight.T).mean() == pytest.approx(1, rel=1e-4)
    values = np.linalg.svd(stage.weight.astype(np.float64), compute_uv=False)[:r]
    np.testing.assert_allclose(values, values[0], rtol=1e-4)


def test_training_lowers_the_loss_of_the_hard_codes() -> None:
    left = of_codes()
    first = start(left, 16, rng())
    stage = train(first, left, left, generator(rng()), lambda: True, 1.5, 300, 0.03).fitted(left)

    def of(stage: Stage) -> float:
        decoded = stage.codes(left) @ stage.decoder
        return loss(torch.from_numpy(left), torch.from_numpy(decoded), 1.5).mean().item()

    assert of(stage) < 0.93 * of(first)


def test_training_ends_when_it_is_told_to() -> None:
    left = of_codes()
    first, calls = start(left, 16, rng()), iter([True, True, False])
    stage = train(first, left, left, generator(rng()), lambda: next(calls), 1.5, 300, 0.03)
    again = train(first, left, left, generator(rng()), lambda: True, 1.5, 300, 0.03)
    assert not list(calls)
    assert 0 < np.abs(stage.weight - first.weight).max() < np.abs(again.weight - first.weight).max()


# --- the whole --------------------------------------------------------------------------------------------------------


def error(table: np.ndarray, **settings: float | None) -> float:
    method = LightToken(**{"rate": 4, "time_limit": None, "steps": 0, "refinements": 0} | settings)
    return float(np.linalg.norm(decode(method.compress(EmbeddingTable(table), rng())) - table) / np.linalg.norm(table))


def test_the_svd_is_the_tables_own() -> None:
    table = gaussian(500, 12)
    payload = LightToken(rate=2, dim=3, steps=0).compress(EmbeddingTable(table), rng())
    assert isinstance(payload, Sum)
    u, s, v = np.linalg.svd(table.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(decode(payload.parts[0]), u[:, :3] * s[:3] @ v[:3], atol=2e-2)
    assert isinstance(LightToken(rate=2, dim=0, steps=0).compress(EmbeddingTable(table), rng()), Projected)


def test_each_part_lowers_the_error() -> None:
    table = of_codes(d=32)
    start = error(table, dim=0)
    assert error(table, dim=0, steps=200) < 0.97 * start
    assert error(table, dim=0, refinements=2) < 0.97 * start
    assert error(table, dim=0, rate=2) < 0.9 * start


def test_codes_hold_what_is_made_of_codes() -> None:
    table = of_codes(n=4000, m=8, d=12)
    assert error(table, dim=0, stages=1, rate=12, steps=1000, refinements=5, learning_rate=0.03) < 0.35
    assert LightToken(dim=0, rate=12).bits(4000, 12) == 24


def test_rows_beyond_the_sample_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    table = gaussian(2000, 16)
    whole = error(table, refinements=2)
    monkeypatch.setattr(light_token, "SAMPLE", 300)
    assert error(table, refinements=2) == pytest.approx(whole, rel=0.1)


def test_without_time_one_step_is_made() -> None:
    table = EmbeddingTable(gaussian(300, 13))
    ended = LightToken(rate=2, stages=1, time_limit=0).compress(table, rng())
    one_step = LightToken(rate=2, stages=1, steps=1, refinements=0).compress(table, rng())
    for name, array in ended.arrays().items():
        np.testing.assert_array_equal(array, one_step.arrays()[name])


def test_threads_of_torch_do_not_matter_and_are_restored() -> None:
    table = EmbeddingTable(gaussian(1200, 64))
    method = LightToken(rate=4, steps=20, time_limit=None)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(method.compress(table, rng()).arrays())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name])


def test_names_tell_settings_apart() -> None:
    assert LightToken().name == "lighttoken-25x-k1"
    assert LightToken(rate=8, dim=4, alpha=3, time_limit=None).name == "lighttoken-8x-k4-alpha3-timelimitNone"


@pytest.mark.slow
@pytest.mark.data
def test_scores_on_the_wordpiece_table() -> None:
    if not WORDPIECE.exists():
        pytest.skip(f"needs {WORDPIECE.name} in ../shared/data")
    (vectors,) = load_file(WORDPIECE).values()
    table = EmbeddingTable(vectors)
    payload = LightToken(steps=100, refinements=2, time_limit=None).compress(table, rng())
    scores = score(table, payload)
    assert payload.nbytes <= 4 * vectors.size / 25
    assert scores["eos"] > 0.52
    assert scores["reconstruction_error_relative"] < 0.52
    assert scores["mean_cosine"] > 0.85
