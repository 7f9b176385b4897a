"""Analogies by 3CosAdd (Mikolov et al. 2013): a is to b as c is to the word nearest to b - a + c."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eigenselect.selector.evidence.tasks.base import Known, Task, Vectors, Vocabulary, lines
from eigenselect.selector.evidence.tasks.texts import Splitter, Texts

CHUNK = 2_000
"""Questions answered at once."""


class Analogy(Task):
    """Share of right answers to the questions whose four words are known.

    The answer is looked for among the known words of the questions, not in the whole table: fewer words, more right
    answers than published ones. The three words of the question cannot be answers.
    """

    def __init__(self, name: str, path: Path, splitter: Splitter) -> None:
        self.name, self.files = name, [path, *splitter.files]
        vocabulary = Vocabulary()
        questions = []
        for number, line in enumerate(lines(path), 1):
            if line.startswith(":"):
                continue
            words = line.split()
            if len(words) != 4:
                raise ValueError(f"{path}, line {number} is {line[:40]!r}: it must be four words, or : and a title")
            questions.append(vocabulary.ids(words))
        self._texts = Texts.of(splitter.tokenized(vocabulary.words))
        self.words = self._texts.words
        self._questions = np.array(questions, dtype=np.int64).reshape(-1, 4)

    def missing(self, known: Known) -> float:  # noqa: D102
        return float(1 - self._texts.known(known)[self._questions].all(axis=1).mean()) if len(self._questions) else 1.0

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        directions, known = self._texts.directions(vectors), self._texts.known(known)
        asked = self._questions[known[self._questions].all(axis=1)]
        right = 0
        for at in range(0, len(asked), CHUNK):
            part = asked[at : at + CHUNK]
            a, b, c, answer = part.T
            near = (directions[b] - directions[a] + directions[c]) @ directions.T
            near[:, ~known] = -np.inf
            np.put_along_axis(near, part[:, :3], -np.inf, axis=1)
            right += int((near.argmax(axis=1) == answer).sum())
        return right / max(len(asked), 1)
