"""Word similarity: rank correlation of the cosine of two words with what people say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eigenselect.selector.evidence.analysis.statistics import spearman
from eigenselect.selector.evidence.tasks.base import Known, Task, Vectors, Vocabulary, lines, unit


class WordSimilarity(Task):
    """Spearman correlation over the pairs whose two words are known; 0 where it is undefined."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.files = name, [path]
        vocabulary = Vocabulary()
        pairs, scores = [], []
        for number, line in enumerate(lines(path), 1):
            fields = line.split()
            try:
                first, second, score = fields
                scores.append(float(score))
            except ValueError:
                raise ValueError(f"{path}, line {number} is {line[:40]!r}: it must be two words and a score") from None
            pairs.append(vocabulary.ids([first, second]))
        self.words = vocabulary.words
        self._pairs, self._scores = np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(scores)

    def missing(self, known: Known) -> float:  # noqa: D102
        return float(1 - known[self._pairs].all(axis=1).mean()) if len(self._pairs) else 1.0

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        covered = known[self._pairs].all(axis=1)
        directions = unit(vectors)
        first, second = directions[self._pairs[covered].T]
        correlation = float(spearman((first * second).sum(axis=1), self._scores[covered])) if covered.any() else 0.0
        return 0.0 if np.isnan(correlation) else correlation
