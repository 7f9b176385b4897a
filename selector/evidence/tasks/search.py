"""Search by the cosine of mean vectors: with no training, as a static model is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eigenselect.selector.evidence.tasks.base import Known, Task, Vectors, Vocabulary
from eigenselect.selector.evidence.tasks.pairs import read_pairs
from eigenselect.selector.evidence.tasks.sentences import FEWEST
from eigenselect.selector.evidence.tasks.squad import read_questions
from eigenselect.selector.evidence.tasks.texts import Splitter, Texts

CHUNK = 1_000
"""Queries that are answered at once."""


class Search(Task):
    """Mean reciprocal rank of the nearest right text among all texts; those of equal cosine share their mean rank.

    Args:
        name: of the task.
        files: that it was read from.
        texts: the queries, and after them what is searched.
        right: of each query, the places of the right ones among what is searched.
    """

    def __init__(self, name: str, files: Sequence[Path], texts: Texts, right: Sequence[Sequence[int]]) -> None:
        self.name, self.files, self.words = name, files, texts.words
        self._texts, self._right = texts, right

    def missing(self, known: Known) -> float:  # noqa: D102
        return self._texts.missing(known)

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        queries, searched = np.split(self._texts.directions(vectors), [len(self._right)])
        total = 0.0
        for at in range(0, len(queries), CHUNK):
            nearness = queries[at : at + CHUNK] @ searched.T
            for near, right in zip(nearness, self._right[at : at + CHUNK], strict=True):
                best = near[right].max()
                total += 1 / ((near > best).sum() + ((near == best).sum() + 1) / 2)
        return float(total / len(queries))


class AnswerSearch(Search):
    """The sentence that answers a question, among those of all contexts."""

    def __init__(self, name: str, files: Sequence[Path], splitter: Splitter) -> None:
        asked = read_questions(files)
        texts = Texts.of(splitter.tokenized([*asked.questions, *asked.sentences]))
        super().__init__(name, [*files, *splitter.files], texts, [[answer] for answer in asked.answers])


class LabelledSearch(Search):
    """The texts that are labelled as right for a query, among all texts of a file; queries without one are left out."""

    def __init__(self, name: str, path: Path, splitter: Splitter) -> None:
        labels, pairs = read_pairs(path, ("0", "1").index, "0 or 1")
        searched = Vocabulary()
        right: dict[str, list[int]] = {}
        for label, query, place in zip(labels, pairs[::2], searched.ids(pairs[1::2]), strict=True):
            if label:
                right.setdefault(query, []).append(place)
        if len(right) < FEWEST:
            raise ValueError(f"{path} has {len(right)} queries with a text labelled 1: at least {FEWEST} are needed")
        texts = Texts.of(splitter.raw([*right, *searched.words]))
        super().__init__(name, [path, *splitter.files], texts, [*right.values()])
