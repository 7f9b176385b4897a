"""Word similarity: rank correlation of the cosine of two words with what people say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eigenselect.selector.evidence.analysis.statistics import spearman
from eigenselect.selector.evidence.tasks.base import Known, Task, Vectors, lines
from eigenselect.selector.evidence.tasks.texts import Splitter, Texts


class WordSimilarity(Task):
    """Spearman correlation over the pairs whose two words are known; 0 where it is undefined."""

    def __init__(self, name: str, path: Path, splitter: Splitter) -> None:
        self.name, self.files = name, [path, *splitter.files]
        words: list[str] = []
        scores = []
        for number, line in enumerate(lines(path), 1):
            fields = line.split()
            try:
                first, second, score = fields
                scores.append(float(score))
            except ValueError:
                raise ValueError(f"{path}, line {number} is {line[:40]!r}: it must be two words and a score") from None
            words += [first, second]
        self._texts, self._scores = Texts.of(splitter.tokenized(words)), np.array(scores)
        self.words = self._texts.words

    def missing(self, known: Known) -> float:  # noqa: D102
        covered = self._covered(known)
        return float(1 - covered.mean()) if len(covered) else 1.0

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        covered = self._covered(known)
        directions = self._texts.directions(vectors)
        cosines = (directions[::2] * directions[1::2]).sum(axis=1)
        correlation = float(spearman(cosines[covered], self._scores[covered])) if covered.any() else 0.0
        return 0.0 if np.isnan(correlation) else correlation

    def _covered(self, known: Known) -> Known:
        """(pairs,)."""
        words = self._texts.known(known)
        return words[::2] & words[1::2]
