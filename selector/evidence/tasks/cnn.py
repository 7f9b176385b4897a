"""The sentence CNN of Kim (2014), "CNN-static", with the settings of May et al. (2019).

Windows of 3, 4 and 5 words, 100 feature maps each, ReLU, max over time, a linear layer; dropout 0.5 on the entries of
the vectors and on the pooled features; batches of 32; Adam. The vectors are frozen and have length 1 each; words that
the table lacks, and the padding before the first word, have random ones. These are the settings of the study's own
code (github.com/HazyResearch/smallfry), but for three: it takes the best on dev of 100 epochs, ours of `EPOCHS`; it
picks the learning rate by the float32 table on dev, for each data set, ours is `RATE`; its batches are in one order,
ours are drawn. Train, dev and test are the published ones, or a split of 8:1:1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eigenselect.compressors.threads import one_torch_thread
from eigenselect.compressors.training import device, generator
from eigenselect.selector.evidence.tasks.base import Ids, Known, Vectors, unit
from eigenselect.selector.evidence.tasks.sentences import SentenceTask

WIDTHS = (3, 4, 5)
MAPS = 100
DROPOUT = 0.5
BATCH = 32
EPOCHS = 10
RATE = 1e-3
UNKNOWN = 0.25
"""Entries of a vector that the table lacks, before it is made one of length 1: drawn from -UNKNOWN to UNKNOWN."""


class SentenceCNN(SentenceTask):
    """Accuracy on the test part."""

    seeded = True

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        with one_torch_thread():
            return self._train(vectors, known, np.random.default_rng(seed))

    def _train(self, vectors: Vectors, known: Known, rng: np.random.Generator) -> float:
        import torch

        sentences, where = self.sentences, device()
        table = torch.from_numpy(self._frozen(vectors, known, rng)).to(where)
        model = _Model(vectors.shape[1], sentences.classes, generator(rng), where)
        optimizer = torch.optim.Adam(model.parameters, lr=RATE, fused=True)
        train, dev, test = sentences.held_out()
        labels = torch.from_numpy(sentences.labels).to(where)
        best, kept = -1.0, model.parameters
        for _ in range(EPOCHS):
            for rows in self._batches(train, rng):
                loss = torch.nn.functional.cross_entropy(
                    model.logits(table[self._padded(rows).to(where)], training=True), labels[rows]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            reached = self._accuracy(model, table, dev)
            if reached > best:
                best, kept = reached, [each.detach().clone() for each in model.parameters]
        model.parameters = kept
        return self._accuracy(model, table, test)

    def _frozen(self, vectors: Vectors, known: Known, rng: np.random.Generator) -> Vectors:
        """(words + 1, k): directions of the vectors, drawn ones for those not known and, last, for the padding."""
        drawn = rng.uniform(-UNKNOWN, UNKNOWN, size=(len(vectors) + 1, vectors.shape[1])).astype(np.float32)
        drawn[:-1][known] = vectors[known]
        return unit(drawn)

    def _batches(self, rows: Ids, rng: np.random.Generator | None = None) -> list[Ids]:
        """Sentences of like length together, the batches in random order; which ones meet is random too."""
        lengths = np.array([len(self.sentences.texts.ids[row]) for row in rows])
        order = np.argsort(lengths + (0 if rng is None else rng.random(len(rows))), kind="stable")
        batches = [rows[order[at : at + BATCH]] for at in range(0, len(rows), BATCH)]
        return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]

    def _padded(self, rows: Ids) -> Any:
        """(batch, longest) ids as a tensor, at least as long as the widest window and padded in front."""
        import torch

        ids = [self.sentences.texts.ids[row] for row in rows]
        padded = np.full((len(ids), max(WIDTHS[-1], *map(len, ids))), len(self.words))
        for each, row in zip(ids, padded, strict=True):
            row[len(row) - len(each) :] = each
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
            last = torch.channels_last if len(shape) == 4 else torch.contiguous_format
            return values.to(where).contiguous(memory_format=last).requires_grad_()

        self._draws = draws
        self.parameters: list[Any] = []
        for width in WIDTHS:
            self.parameters += [drawn(MAPS, k, 1, width, inputs=k * width), drawn(MAPS, inputs=k * width)]
        features = MAPS * len(WIDTHS)
        self.parameters += [drawn(classes, features, inputs=features), drawn(classes, inputs=features)]

    def logits(self, words: Any, *, training: bool) -> Any:
        """(batch, classes) of (batch, length, k)."""
        import torch

        *convolutions, weight, bias = self.parameters
        if training:
            words = self._dropped(words)
        # Looked-up words are an image of height 1 with its channels last, on which convolutions are two to three times
        # as fast as with a copy whose channels come first.
        image = words.transpose(1, 2).unsqueeze(2)
        pooled = [
            torch.relu(torch.nn.functional.conv2d(image, kernel).amax(dim=(2, 3)) + offset)
            for kernel, offset in zip(convolutions[::2], convolutions[1::2], strict=True)
        ]
        features = torch.cat(pooled, dim=1)
        if training:
            features = self._dropped(features)
        return torch.nn.functional.linear(features, weight, bias)

    def _dropped(self, values: Any) -> Any:
        """`values` after dropout."""
        import torch

        kept = torch.rand(values.shape, generator=self._draws) >= DROPOUT
        return values * (kept.to(values.device) / (1 - DROPOUT))
