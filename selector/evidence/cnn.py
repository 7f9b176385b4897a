"""The sentence CNN of Kim (2014), "CNN-static": the vectors are frozen.

Windows of 3, 4 and 5 words, 100 feature maps each, ReLU, max over time, dropout 0.5, a linear layer; batches of 50.
Adam at 1e-3 in the place of Adadelta with a norm constraint; the weights of the best epoch on dev, of at most
`EPOCHS`, and the search ends after `PATIENCE` epochs without a better one. Train, dev and test are the published ones,
or one split of 8:1:1. Vectors are divided by one number, so that their known rows have mean square 0.1 an entry, about
that of trained ones: the step size then means the same for every candidate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from compressors.training import device, generator, one_thread
from selector.evidence.sentences import SentenceTask
from selector.evidence.tasks import Ids, Known, Vectors

WIDTHS = (3, 4, 5)
MAPS = 100
DROPOUT = 0.5
BATCH = 50
EPOCHS = 10
PATIENCE = 2
RATE = 1e-3
MEAN_SQUARE = 0.1


class SentenceCNN(SentenceTask):
    """Accuracy on the test part."""

    seeded = True

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        with one_thread():
            return self._train(vectors, known, np.random.default_rng(seed))

    def _train(self, vectors: Vectors, known: Known, rng: np.random.Generator) -> float:
        import torch

        sentences, where = self.sentences, device()
        square = float((vectors.astype(np.float64) ** 2).sum()) / max(int(known.sum()) * vectors.shape[1], 1)
        # The last row is the padding.
        frozen = np.vstack([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
        frozen *= np.float32(np.sqrt(MEAN_SQUARE / square) if square > 0 else 1)
        table = torch.from_numpy(frozen).to(where)
        model = _Model(vectors.shape[1], sentences.classes, generator(rng), where)
        optimizer = torch.optim.Adam(model.parameters, lr=RATE)
        train, dev, test = sentences.held_out()
        labels = torch.from_numpy(sentences.labels).to(where)
        best, since, kept = -1.0, 0, [each.detach().clone() for each in model.parameters]
        for _ in range(EPOCHS):
            for rows in self._batches(train, rng):
                loss = torch.nn.functional.cross_entropy(
                    model.logits(table[self._padded(rows).to(where)], training=True), labels[rows]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            reached = self._accuracy(model, table, dev)
            since += 1
            if reached > best:
                best, since, kept = reached, 0, [each.detach().clone() for each in model.parameters]
            if since == PATIENCE:
                break
        model.parameters = kept
        return self._accuracy(model, table, test)

    def _batches(self, rows: Ids, rng: np.random.Generator | None = None) -> list[Ids]:
        """Sentences of like length together, the batches in random order; which ones meet is random too."""
        lengths = np.array([len(self.sentences.ids[row]) for row in rows])
        order = np.argsort(lengths + (0 if rng is None else rng.random(len(rows))), kind="stable")
        batches = [rows[order[at : at + BATCH]] for at in range(0, len(rows), BATCH)]
        return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]

    def _padded(self, rows: Ids) -> Any:
        """(batch, longest) ids as a tensor, at least as long as the widest window and padded at the end."""
        import torch

        ids = [self.sentences.ids[row] for row in rows]
        padded = np.full((len(ids), max(WIDTHS[-1], *map(len, ids))), len(self.words))
        for each, row in zip(ids, padded, strict=True):
            row[: len(each)] = each
        return torch.from_numpy(padded)

    def _accuracy(self, model: _Model, table: Any, rows: Ids) -> float:
        import torch

        right = 0
        with torch.no_grad():
            for batch in self._batches(rows):
                logits = model.logits(table[self._padded(batch).to(table.device)], training=False)
                right += int((logits.argmax(dim=1).cpu().numpy() == self.sentences.labels[batch]).sum())
        return right / len(rows)


class _Model:
    """The network; its parameters and its dropout are drawn from one generator on the CPU."""

    def __init__(self, k: int, classes: int, draws: Any, where: str) -> None:
        import torch

        def drawn(*shape: int, inputs: int) -> Any:
            values = (2 * torch.rand(shape, generator=draws) - 1) / inputs**0.5
            return values.to(where).requires_grad_()

        self._draws = draws
        self.parameters: list[Any] = []
        for width in WIDTHS:
            self.parameters += [drawn(MAPS, k, width, inputs=k * width), drawn(MAPS, inputs=k * width)]
        features = MAPS * len(WIDTHS)
        self.parameters += [drawn(classes, features, inputs=features), drawn(classes, inputs=features)]

    def logits(self, words: Any, *, training: bool) -> Any:
        """(batch, classes) of (batch, length, k)."""
        import torch

        *convolutions, weight, bias = self.parameters
        across = words.transpose(1, 2)
        pooled = [
            torch.relu(torch.nn.functional.conv1d(across, kernel, offset)).amax(dim=2)
            for kernel, offset in zip(convolutions[::2], convolutions[1::2], strict=True)
        ]
        features = torch.cat(pooled, dim=1)
        if training:
            kept = torch.rand(features.shape, generator=self._draws) >= DROPOUT
            features = features * kept.to(features.device) / (1 - DROPOUT)
        return torch.nn.functional.linear(features, weight, bias)
