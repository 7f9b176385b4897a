"""The published training of deep compositional codes (Shu and Nakayama, ICLR 2018, §3.3, and the authors' program).

An encoder h = tanh(W1 x + b1) of width MK/2 with logits log(softplus(W2 h + b2) + 1e-8); a Gumbel softmax of
temperature 1 picks the codewords; the loss is half the squared error. Adam with the gradient clipped to a norm of
0.001, batches of 64, weights from U(-0.01, 0.01); the state of the lowest loss on 640 held-out rows is kept. Ours:
rows are scaled to entries of unit variance (the published settings are those of tables near that), and at most `SAMPLE`
of them are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.threads import one_torch_thread
from eigenselect.compressors.training import Deadline, Update, device, generator

Float32s = npt.NDArray[np.float32]

LEARNING_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""The grid of May et al. (NeurIPS 2019, Table 6)."""

SAMPLE = 1 << 17
BATCH = 64
HELD_OUT = 640
CLIP = 0.001
INITIAL = 0.01


class Sample(NamedTuple):
    """Rows to train on, and others to judge by what was learned.

    Attributes:
        rows: (m, d).
        learned: ids of those that are trained on.
        held_out: ids of the others: a tenth, and `HELD_OUT` at most. Fewer than ten rows are all of both.
    """

    rows: Float32s
    learned: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Float32s, rng: np.random.Generator) -> Sample:
        """The rows, and which of them are held out."""
        order, count = rng.permutation(len(rows)), min(HELD_OUT, len(rows) // 10)
        return cls(rows, order[count:], order[:count] if count else order)


@dataclass(frozen=True)
class Encoder:
    """A trained encoder.

    Attributes:
        loss: half the squared error of a row, on the held-out rows.
        weights: W1 (d, h), b1 (h,), W2 (h, M*K), b2 (M*K,), float32.
        codewords: K.
    """

    loss: float
    weights: tuple[Float32s, ...]
    codewords: int

    def choose(self, rows: Float32s) -> npt.NDArray[np.uint8]:
        """(m, M) codes of the rows (m, d): the most likely ones. The logits' softplus does not change which."""
        w1, b1, w2, b2 = self.weights
        logits = (np.tanh(rows @ w1 + b1) @ w2 + b2).reshape(len(rows), -1, self.codewords)
        codes: npt.NDArray[np.uint8] = logits.argmax(axis=2).astype(np.uint8)
        return codes


def train(
    sample: Sample,
    shape: tuple[int, int],
    learning_rate: float,
    epochs: int,
    seconds: float | None,
    rng: np.random.Generator,
    update: Update,
) -> Encoder:
    """Train codes of `shape` (M, K) until the epochs or the `seconds` are over, for one step at least."""
    import torch

    books, codewords = shape
    size, d, where = books * codewords, sample.rows.shape[1], device()
    hidden = max(1, size // 2)
    with one_torch_thread():
        draw = generator(rng)
        points, learned = (torch.from_numpy(array).to(where) for array in (sample.rows, sample.learned))
        held_out = points[torch.from_numpy(sample.held_out).to(where)]
        sizes = [(d, hidden), (hidden,), (hidden, size), (size,), (size, d)]
        state = [((torch.rand(s, generator=draw) * 2 - 1) * INITIAL).to(where).requires_grad_() for s in sizes]
        optimizer = torch.optim.Adam(state, learning_rate)
        # Here, because importing torch and making its first optimizer take seconds.
        deadline = Deadline(seconds)

        def loss(batch: torch.Tensor) -> torch.Tensor:
            w1, b1, w2, b2, codebook = state
            activations = torch.nn.functional.softplus(torch.tanh(batch @ w1 + b1) @ w2 + b2)
            logits = (activations + 1e-8).log().view(len(batch), books, codewords)
            noise = -torch.empty(logits.shape).exponential_(generator=draw).log().to(where)
            picked = torch.softmax(logits + noise, dim=2).view(len(batch), size)
            return ((picked @ codebook - batch) ** 2).sum(dim=1).mean() / 2

        best, kept = np.inf, state
        for epoch in range(epochs):
            for batch in torch.randperm(len(learned), generator=draw).to(where).split(BATCH):
                optimizer.zero_grad()
                loss(points[learned[batch]]).backward()
                torch.nn.utils.clip_grad_norm_(state, CLIP)
                optimizer.step()
                if deadline.passed:
                    break
            with torch.no_grad():
                reached = float(loss(held_out))
            if reached <= best * 0.999:
                best, kept = reached, [tensor.detach().clone() for tensor in state]
            update(epoch + 1, epochs)
            if deadline.passed:
                break
        return Encoder(best, tuple(tensor.detach().cpu().numpy() for tensor in kept[:4]), codewords)
