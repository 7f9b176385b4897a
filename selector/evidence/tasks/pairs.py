"""Pairs of sentences by the cosine of their mean vectors: with no training, as a static model is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from eigenselect.selector.evidence.analysis.statistics import spearman
from eigenselect.selector.evidence.tasks.base import Known, Task, Vectors, lines
from eigenselect.selector.evidence.tasks.sentences import FEWEST
from eigenselect.selector.evidence.tasks.texts import Splitter, Texts

Floats = npt.NDArray[np.float64]

HEADERS = ("score", "label")
"""What the first line of a file may begin with."""


class SentencePairs(Task):
    """Something done with the cosines of pairs of sentences.

    Attributes:
        values: (pairs,), what is said of each.
        texts: the two sentences of each, one after the other.
    """

    def __init__(self, name: str, path: Path, splitter: Splitter, value: Callable[[str], float], says: str) -> None:
        values, texts = read_pairs(path, value, says)
        self.name, self.files = name, [path, *splitter.files]
        self.values, self.texts = np.array(values), Texts.of(splitter.raw(texts))
        self.words = self.texts.words

    def missing(self, known: Known) -> float:  # noqa: D102
        return self.texts.missing(known)


class SentenceSimilarity(SentencePairs):
    """Spearman correlation of the cosine with what people say; 0 where it is undefined."""

    def __init__(self, name: str, path: Path, splitter: Splitter) -> None:
        super().__init__(name, path, splitter, float, "a score")

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        correlation = float(spearman(self.texts.cosines(vectors), self.values))
        return 0.0 if np.isnan(correlation) else correlation


class Paraphrases(SentencePairs):
    """Average precision of the pairs that mean the same, the nearest first."""

    def __init__(self, name: str, path: Path, splitter: Splitter) -> None:
        super().__init__(name, path, splitter, ("0", "1").index, "0 or 1")
        if not 0 < self.values.sum() < len(self.values):
            raise ValueError(f"{path} has pairs of one kind only: some must be 1, which mean the same, and some 0")

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        return average_precision(self.texts.cosines(vectors), self.values > 0)


def average_precision(nearness: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Mean, over those that are `right`, of the share of right ones among all that are at least as near.

    >>> average_precision(np.array([.9, .8, .7]), np.array([True, False, True]))
    0.8333333333333333
    """
    above = rankdata(-nearness, method="max")[right]
    return float((rankdata(-nearness[right], method="max") / above).mean())


def read_pairs(path: Path, value: Callable[[str], float], says: str) -> tuple[list[float], list[str]]:
    """The value of each pair, and the two sentences of each, one after the other.

    Args:
        path: a value, a tab, a sentence, a tab, a sentence a line; the first line may be a header.
        value: what the first field stands for; it raises a ValueError for what it cannot be.
        says: what it must be.

    Raises:
        ValueError: a file of another form, or too few pairs.
    """
    values, texts = [], []
    for number, line in enumerate(lines(path), 1):
        fields = line.split("\t")
        if number == 1 and fields[0] in HEADERS:
            continue
        try:
            first, *pair = fields
            values.append(float(value(first)))
            if len(pair) != 2 or not np.isfinite(values[-1]):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{path}, line {number} is {line[:40]!r}: it must be {says}, a tab, a sentence, a tab, a sentence"
            ) from None
        texts += pair
    if len(values) < FEWEST:
        raise ValueError(f"{path} has {len(values)} pairs: at least {FEWEST} are needed")
    return values, texts
