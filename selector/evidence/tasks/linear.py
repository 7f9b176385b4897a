"""Logistic regression over the mean vector of a sentence's words.

Features are divided by one number, so that their mean square is 1: the penalty then means the same for every
candidate, and nothing of the geometry changes. Penalty λ/2 ‖W‖² beside the mean cross-entropy, none on the intercept;
L-BFGS to convergence. Accuracy on the published test part, or over ten folds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.special import log_softmax

from eigenselect.selector.evidence.tasks.base import Known, Vectors
from eigenselect.selector.evidence.tasks.sentences import SentenceTask

Floats = npt.NDArray[np.float64]

PENALTY = 1e-4

GRADIENT = 1e-5
"""Largest entry of the gradient at which a fit is done."""

ITERATIONS = 500


class SentenceLinear(SentenceTask):
    """Accuracy of a linear model."""

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        sentences = self.sentences
        features = sentences.texts.pooled(vectors)
        square = float((features**2).mean())
        features *= 1 / np.sqrt(square) if square > 0 else 1
        with_one = np.column_stack([features, np.ones(len(features))])
        weights = np.zeros((with_one.shape[1], sentences.classes))
        right = total = 0
        for train, test in sentences.splits():
            weights = fit(with_one[train], sentences.labels[train], weights)
            right += int(((with_one[test] @ weights).argmax(axis=1) == sentences.labels[test]).sum())
            total += len(test)
        return right / total


def fit(features: Floats, labels: npt.NDArray[np.int64], start: Floats) -> Floats:
    """The weights (k + 1, classes) of least loss, searched for from `start`; the last feature is the intercept."""
    hot = np.eye(start.shape[1])[labels]
    penalty = np.full((len(start), 1), PENALTY)
    penalty[-1] = 0
    # In coordinates where a bound of the Hessian is the identity a few steps do, however stretched the features are.
    gram = features.T @ features / (4 * len(features))
    curvature = gram + np.diag(penalty[:, 0]) + 1e-9 * np.trace(gram) * np.eye(len(gram))
    root = np.linalg.cholesky(curvature)
    turn = solve_triangular(root, np.eye(len(root)), lower=True).T
    turned = features @ turn

    def loss(flat: Floats) -> tuple[float, Floats]:
        steps = flat.reshape(start.shape)
        weights = turn @ steps
        logs = log_softmax(turned @ steps, axis=1)
        value = -(hot * logs).sum() / len(features) + (penalty * weights**2).sum() / 2
        gradient = turned.T @ (np.exp(logs) - hot) / len(features) + turn.T @ (penalty * weights)
        return float(value), gradient.ravel()

    options = {"gtol": GRADIENT, "ftol": 0, "maxiter": ITERATIONS}
    found = minimize(loss, (root.T @ start).ravel(), jac=True, method="L-BFGS-B", options=options)
    weights: Floats = turn @ found.x.reshape(start.shape)
    return weights
