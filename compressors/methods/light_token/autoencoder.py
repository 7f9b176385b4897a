"""A binary autoencoder with tempered sigmoid codes and a linear decoder, on what earlier stages left of a table.

One stage of LightToken (KDD 2023). Its formulas are not public: what follows is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.compressors.threads import one_torch_thread
from eigenselect.compressors.training import device

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

BATCH = 512
"""Rows of a training step."""

TEMPERATURES = (1.0, 5.0)
"""τ at the first and at the last step of a stage: at 5, codes are not yet saturated."""

CHUNK = 1 << 10
"""Rows encoded at once: few enough for the cache, and codes.T @ codes is exact in float32."""

SMALLEST = 1e-6
"""Of entries in -1..1, the least size of a residual that is scaled to 1: what is smaller is rounding of float32."""


def loss(x: Any, y: Any, alpha: float) -> Any:
    """L_α = (‖x‖ − ‖y‖)² + 2α‖x‖‖y‖(1 − cos(x, y)) of each row: ‖x − y‖² at α = 1, and no less at α > 1."""
    x_norm, y_norm = x.norm(dim=1), (y.square().sum(1) + 1e-20).sqrt()
    return (x_norm - y_norm).square() + 2 * alpha * (x_norm * y_norm - (x * y).sum(1))


def products(codes: Float32s, left: Float32s) -> Float64s:
    """(m, m + d) [CᵀC CᵀE] of some rows; summed over all rows `solve` makes a decoder of them."""
    return np.concatenate([codes.T @ codes, codes.T.astype(np.float64) @ left], axis=1)


def solve(sums: Float64s) -> Float32s:
    """(m, d) D that minimises ‖E − CD‖, from [CᵀC CᵀE]; a ridge of the size of rounding parts collinear codes."""
    power, cross = np.split(sums, [len(sums)], axis=1)
    return np.linalg.solve(power + 1e-9 * power[0, 0] * np.eye(len(power)), cross).astype(np.float32)


def flip(codes: Float32s, left: Float32s, decoder: Float32s) -> Float32s:
    """The codes (rows, m), flipped in place, bit after bit, wherever that lowers a row of ‖left − codes @ decoder‖."""
    along = (left - codes @ decoder) @ decoder.T
    gram = decoder @ decoder.T
    for j in range(len(decoder)):
        rows = np.flatnonzero(codes[:, j] * along[:, j] < -gram[j, j])
        along[rows] += 2 * codes[rows, j, None] * gram[j]
        codes[rows, j] *= -1
    return codes


class Stage(NamedTuple):
    """codes = sign(E Wᵀ + b), decoded by D.

    Attributes:
        weight: (m, d) float32 W; E Wᵀ has a mean square of about 1, so that τ means the same in every stage.
        bias: (m,) float32 b.
        decoder: (m, d) float32 D.
    """

    weight: Float32s
    bias: Float32s
    decoder: Float32s

    def codes(self, left: Float32s) -> Float32s:
        """(rows, m) of ±1 for rows of E."""
        return np.where(left @ self.weight.T + self.bias >= 0, np.float32(1), np.float32(-1))

    def fitted(self, left: Float32s) -> Stage:
        """The stage with the best decoder for its codes."""
        parts = (left[at : at + CHUNK] for at in range(0, len(left), CHUNK))
        return self._replace(decoder=solve(reduce(np.add, (products(self.codes(part), part) for part in parts))))


def start(left: Float32s, m: int, rng: np.random.Generator) -> Stage:
    """The rotated PCA of the residual `left` (rows, d): m random orthogonal combinations of its leading directions."""
    sigma, vectors = EmbeddingTable(left).spectrum
    r = min(m, left.shape[1])
    rotation = np.linalg.qr(rng.standard_normal((m, m)))[0][:, :r]
    scale = np.sqrt((sigma[:r] ** 2).sum() / (m * len(left)))
    weight = rotation @ vectors[:, :r].T / max(scale, SMALLEST)
    return Stage(weight.astype(np.float32), np.zeros(m, np.float32), np.empty(0, np.float32)).fitted(left)


def train(
    stage: Stage,
    x: Float32s,
    left: Float32s,
    draws: Any,
    step: Callable[[], bool],
    alpha: float,
    steps: int,
    learning_rate: float,
) -> Stage:
    """The stage after Adam on L_α(x, y), y = x − left + h D, where h = 2σ(τ(W left + b)) − 1 and τ rises.

    Args:
        stage: where to start.
        x: (rows, d) of the table, entries in -1..1.
        left: (rows, d), what earlier stages left of them.
        draws: the torch.Generator that picks each step's rows.
        step: called after each step; False ends the training there.
        alpha: α.
        steps: of training.
        learning_rate: at the first step, in shares of the root mean square of W, of 1 and of D; it falls to 0.
    """
    import torch

    where = device()
    tables = [torch.from_numpy(array).to(where) for array in (x, left)]
    w, b, d = parameters = [torch.from_numpy(array.copy()).to(where).requires_grad_() for array in stage]
    sizes = [float(np.sqrt(np.square(stage.weight).mean())), 1.0, float(np.sqrt(np.square(stage.decoder).mean()))]
    adam = torch.optim.Adam([{"params": [p], "lr": learning_rate * s} for p, s in zip(parameters, sizes, strict=True)])
    schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
    with one_torch_thread():
        for done in range(steps):
            tau = TEMPERATURES[0] + (TEMPERATURES[1] - TEMPERATURES[0]) * done / max(steps - 1, 1)
            picked = torch.randint(len(x), (BATCH,), generator=draws).to(where)
            rows, rest = (table[picked] for table in tables)
            h = 2 * torch.sigmoid(tau * (rest @ w.T + b)) - 1
            adam.zero_grad()
            loss(rows, rows - rest + h @ d, alpha).mean().backward()
            adam.step()
            schedule.step()
            if not step():
                break
    return Stage(*(p.detach().cpu().numpy() for p in parameters))


def all_codes(stages: Sequence[Stage], left: Float32s) -> Float32s:
    """The codes of all stages side by side, each those of what the stages before it leave."""
    found = []
    for stage in stages:
        found.append(stage.codes(left))
        left = left - found[-1] @ stage.decoder
    return np.concatenate(found, axis=1)
