"""What the eigenspace overlap score says of downstream models: the theorems of May et al. (2019), simulated."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.selector.measures import score

# Theorem 1.


def regression(rng, n, d, k):
    """A table X, a candidate X~ of k <= d columns that overlaps it in part, and the projections on their spans."""
    x = rng.standard_normal((n, d)) * np.geomspace(1, 0.1, d)
    y = (x + 0.3 * rng.standard_normal((n, d))) @ rng.standard_normal((d, k))
    return x, y, x @ np.linalg.pinv(x), y @ np.linalg.pinv(y)


SETTINGS = [(120, 10, 10, 0.0), (120, 10, 6, 1.0), (60, 12, 3, 3.5), (40, 40, 20, 1.0)]


@pytest.mark.parametrize(("n", "d", "k", "c"), SETTINGS)
def test_theorem_1_in_closed_form(n, d, k, c):
    """Fixed-design linear regression, averaged over labels, loses d/n (1 - E) - c² d (d - k)/n² by using X~ for X.

    True labels: y_bar = U z with U an orthonormal basis of X's span and z random, E[z] = 0, E[zzᵀ] = I_d; so
    E‖y_bar‖² = d. Observed: y = y_bar + ε, ε independent with variance σ² = c² E‖y_bar‖²/n = c² d/n each: c² is the
    ratio of noise to signal. Least squares on X predicts Py with P the projection on X's span, and likewise P~ for X~.
    The risk of a prediction is its mean squared distance from y_bar:

        R(X~) = E_ε ‖P~(y_bar + ε) - y_bar‖²/n = ‖(I - P~) y_bar‖²/n + σ² tr(P~)/n.

    Averaged over z: E‖(I - P~) U z‖² = tr(Uᵀ(I - P~)U) = d - ‖UᵀU~‖² = d (1 - E), since max(d, k) = d; tr(P~) = k.
    For X itself the first term is 0 and the trace is d. The difference is

        R(X~) - R(X) = d/n (1 - E) - σ² (d - k)/n = d/n (1 - E) - c² d (d - k)/n².
    """
    x, y, on_x, on_y = regression(np.random.default_rng(0), n, d, k)
    u = np.linalg.qr(x)[0]
    noise = c**2 * d / n
    exact = (np.trace(u.T @ (np.eye(n) - on_y) @ u) + noise * (np.trace(on_y) - np.trace(on_x))) / n
    eos = score(x, y)["eos"]
    assert d / n * (1 - eos) - c**2 * d * (d - k) / n**2 == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("n", "d", "k", "c"), SETTINGS[:3])
def test_theorem_1_by_simulation(n, d, k, c):
    """The same by fitting models: the mean over 20,000 draws is within 5 of its standard errors, which are small."""
    rng = np.random.default_rng(1)
    x, y, *_ = regression(rng, n, d, k)
    draws = 20_000
    labels = np.linalg.qr(x)[0] @ rng.choice([-1.0, 1.0], (d, draws))
    observed = labels + np.sqrt(c**2 * d / n) * rng.standard_normal((n, draws))

    def risks(features):
        weights = np.linalg.lstsq(features, observed, rcond=None)[0]
        return ((features @ weights - labels) ** 2).mean(axis=0)

    lost = risks(y) - risks(x)
    expected = d / n * (1 - score(x, y)["eos"]) - c**2 * d * (d - k) / n**2
    standard_error = lost.std() / np.sqrt(draws)
    assert 5 * standard_error < 0.1 * abs(expected)
    assert abs(lost.mean() - expected) < 5 * standard_error


# The same with labels of any covariance in the table's span (ours).


def spread_labels(x, p):
    """Φ with labels y_bar = UΦz: E[y_bar y_barᵀ] = US^pUᵀ. U, S from the eigenvectors of XXᵀ."""
    values, vectors = np.linalg.eigh(x @ x.T)
    kept = slice(len(x) - x.shape[1], None)
    return vectors[:, kept], np.diag(np.sqrt(values[kept]) ** (p / 2))


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3])
@pytest.mark.parametrize(("n", "d", "k", "c"), SETTINGS)
def test_theorem_1_for_labels_of_any_spread_in_closed_form(n, d, k, c, p):
    """Labels y_bar = U S^(p/2) z with E[zzᵀ] = I lose tr(S^p)/n (1 - weighted EOS) - c² tr(S^p) (d - k)/n².

    As above, E‖y_bar‖² = tr(S^p), which was d, so that σ² = c² tr(S^p)/n; and averaged over z,

        E‖(I - P~) U S^(p/2) z‖² = tr(S^p) - tr(S^p UᵀP~U) = tr(S^p) - Σᵢ σᵢᵖ ‖U~ᵀuᵢ‖² = tr(S^p) (1 - weighted EOS).

    The rest is unchanged. p = 0 is Theorem 1. p = 2 is y_bar = Xw with isotropic weights w: a linear model of X itself.
    """
    x, y, on_x, on_y = regression(np.random.default_rng(0), n, d, k)
    u, root = spread_labels(x, p)
    size = np.trace(root**2)
    noise = c**2 * size / n
    labels = u @ root
    missed = np.trace(labels.T @ (np.eye(n) - on_y) @ labels)
    exact = (missed + noise * (np.trace(on_y) - np.trace(on_x))) / n
    weighted = score(x, y, exponents=[p])[f"weighted_eos_p{p:g}"]
    assert size / n * (1 - weighted - c**2 * (d - k) / n) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("p", [1, 2])
def test_theorem_1_for_labels_of_any_spread_by_simulation(p):
    """By fitting models, as above; and EOS does not say it: the losses of two candidates are in another order."""
    rng = np.random.default_rng(p)
    n, d, k, c, draws = 60, 12, 5, 1.0, 20_000
    x, *_ = regression(rng, n, d, k)
    u, root = spread_labels(x, p)
    labels = u @ root @ rng.choice([-1.0, 1.0], (d, draws))
    size = np.trace(root**2)
    observed = labels + np.sqrt(c**2 * size / n) * rng.standard_normal((n, draws))
    # One holds the k longest directions, one the 5 + 1 shortest: EOS likes the second.
    long, short = u[:, -k:], u[:, : k + 1]

    def risks(features):
        weights = np.linalg.lstsq(features, observed, rcond=None)[0]
        return ((features @ weights - labels) ** 2).mean(axis=0)

    base, losses = risks(x), []
    for candidate in (long, short):
        lost = risks(candidate) - base
        scores = score(x, candidate, exponents=[p])
        columns = candidate.shape[1]
        expected = size / n * (1 - scores[f"weighted_eos_p{p}"] - c**2 * (d - columns) / n)
        standard_error = lost.std() / np.sqrt(draws)
        assert abs(lost.mean() - expected) < 5 * standard_error < 0.1 * size / n
        losses.append((lost.mean(), scores["eos"]))
    assert losses[0][0] < losses[1][0] and losses[0][1] < losses[1][1]


# Theorem 3 and App. C.2. The theorem's quantizer does not look for a clip threshold: its grid is the bound itself.


def quantize(rng, x, bits):
    """Unbiased stochastic rounding to the 2**bits levels from -1/√d to 1/√d, and the variance of each entry."""
    step = 2 / np.sqrt(x.shape[1]) / (2**bits - 1)
    position = x / step + (2**bits - 1) / 2
    below = np.floor(position)
    up = position - below
    levels = below + (rng.random(x.shape) < up)
    assert levels.min() >= 0 and levels.max() <= 2**bits - 1
    return (levels - (2**bits - 1) / 2) * step, step**2 * up * (1 - up)


def bounded(rng, n, d, scale=1.0):
    """Independent entries, uniform in [-scale/√d, scale/√d]."""
    return rng.uniform(-scale, scale, (n, d)) / np.sqrt(d)


def smallness(x):
    """The theorem's a, with σ_min(X) = a √(n/d)."""
    n, d = x.shape
    return np.linalg.svd(x, compute_uv=False)[-1] / np.sqrt(n / d)


def lost(rng, x, bits, draws):
    """1 - EOS of some quantizations of x."""
    return np.array([1 - score(x, quantize(rng, x, bits)[0])["eos"] for _ in range(draws)])


@pytest.mark.parametrize(
    ("kind", "bits"),
    [*(("signs", b) for b in (4, 5, 6, 7, 8)), *(("uniform", b) for b in (5, 6, 7, 8)), ("one short direction", 8)],
)
def test_theorem_3_bounds_the_expected_loss(kind, bits):
    """E[1 - EOS] <= 20 / ((2^b - 1)² a⁴), at sizes where that is below 1 and so says something.

    The mean over 20 draws, plus 5 standard errors, is below the bound.
    """
    rng = np.random.default_rng(bits)
    x = bounded(rng, 400, 16)
    if kind == "signs":
        x = np.sign(x) / np.sqrt(16) * 0.9
    if kind == "one short direction":
        x[:, 0] *= 0.3
    a = smallness(x)
    bound = 20 / ((2**bits - 1) ** 2 * a**4)
    assert 0 < a <= 1 and bound < 1
    losses = lost(rng, x, bits, 20)
    assert 0 < losses.mean() + 5 * losses.std(ddof=1) / np.sqrt(20) <= bound


@pytest.mark.parametrize("bits", [5, 6, 8])
def test_the_expected_loss_to_first_order(bits):
    """The bound is loose; this is not: E[1 - EOS] = Σ_j [(XᵀX)⁻¹]_jj Σ_i var_ij (1 - P_ii) / d + O(noise⁴).

    A quantization X + N leaves X's span by (I - P) N (XᵀX)^(-1/2), of which 1 - EOS is the squared norm over d.
    """
    rng = np.random.default_rng(bits)
    x = bounded(rng, 1000, 16)
    inverse = np.linalg.inv(x.T @ x)
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    predicted = np.diag(inverse) @ (quantize(rng, x, bits)[1].T @ (1 - leverage)) / 16
    assert lost(rng, x, bits, 10).mean() == pytest.approx(predicted, rel=0.02)


def slope(along, losses):
    return np.polyfit(np.log2(along), np.log2(losses), 1)[0]


def test_the_loss_falls_fourfold_with_each_bit():
    rng = np.random.default_rng(0)
    x = bounded(rng, 1000, 16)
    bits = np.arange(4, 9)
    losses = [lost(rng, x, b, 5).mean() for b in bits]
    assert slope(2.0**bits - 1, losses) == pytest.approx(-2, abs=0.05)
    assert np.polyfit(bits, np.log2(losses), 1)[0] == pytest.approx(-2, abs=0.1)


def test_the_loss_falls_with_the_square_of_the_smallest_singular_value():
    """All directions scaled together: a⁻², within the a⁻⁴ that the theorem allows."""
    rng = np.random.default_rng(0)
    tables = [bounded(rng, 1000, 16, scale) for scale in (1, 0.5, 0.25, 0.125)]
    losses = [lost(rng, x, 7, 5).mean() for x in tables]
    assert slope([smallness(x) for x in tables], losses) == pytest.approx(-2, abs=0.1)


def test_the_loss_does_not_depend_on_the_number_of_rows():
    rng = np.random.default_rng(0)
    rows = np.array([500, 1000, 2000, 4000, 8000])
    assert slope(rows, [lost(rng, bounded(rng, n, 16), 4, 5).mean() for n in rows]) == pytest.approx(0, abs=0.04)


def test_the_loss_does_not_depend_on_the_dimension():
    rng = np.random.default_rng(0)
    dims = np.array([4, 8, 16, 32, 64])
    assert slope(dims, [lost(rng, bounded(rng, 8000, d), 4, 3).mean() for d in dims]) == pytest.approx(0, abs=0.04)
