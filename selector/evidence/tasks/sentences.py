"""Labelled sentences, their splits, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eigenselect.selector.evidence.tasks.base import Ids, Known, Task, lines
from eigenselect.selector.evidence.tasks.texts import Splitter, Texts

FOLDS = 10

FEWEST = 2 * FOLDS


@dataclass(frozen=True)
class Sentences:
    """Labelled sentences.

    Attributes:
        texts: the sentences.
        labels: (n,) int64, the class of each, from 0 on.
        part: (n,) int64, 0 train, 1 dev, 2 test where the split is published; else None.
    """

    texts: Texts
    labels: Ids
    part: Ids | None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1

    @property
    def fold(self) -> Ids:
        """(n,): in which of ten parts each sentence is; the same for everyone."""
        return np.random.default_rng(0).permutation(len(self.texts)) % FOLDS

    def splits(self) -> list[tuple[Ids, Ids]]:
        """(train, test) rows: the published split, with dev in train; else ten-fold cross validation."""
        if self.part is not None:
            return [(np.flatnonzero(self.part < 2), np.flatnonzero(self.part == 2))]
        return [(np.flatnonzero(self.fold != k), np.flatnonzero(self.fold == k)) for k in range(FOLDS)]

    def held_out(self) -> tuple[Ids, Ids, Ids]:
        """(train, dev, test) rows: the published split, with a tenth of train as dev where none is; else 8:1:1."""
        part = np.minimum(self.fold, 2) if self.part is None else self.part.copy()
        if self.part is None:
            part = np.choose(part, [2, 1, 0])
        elif not (part == 1).any():
            part[(part == 0) & (self.fold == 1)] = 1
        train, dev, test = (np.flatnonzero(part == which) for which in range(3))
        return train, dev, test


class SentenceTask(Task):
    """A model of sentences.

    Attributes:
        sentences: what it is trained and tested on.
    """

    def __init__(self, name: str, files: Sequence[Path], sentences: Sentences) -> None:
        self.name, self.files, self.words = name, files, sentences.texts.words
        self.sentences = sentences

    def missing(self, known: Known) -> float:  # noqa: D102
        return self.sentences.texts.missing(known)


def read_sentences(files: Sequence[Path], splitter: Splitter) -> Sentences:
    """One file without a split, or the files of a published one: `NAME.train.tsv`, `.test.tsv` and maybe `.dev.tsv`.

    Raises:
        ValueError: files of another form, or too few sentences.
    """
    parts = {path.name.removesuffix(".tsv").partition(".")[2]: path for path in files}
    if {*parts} not in ({""}, {"train", "test"}, {"train", "dev", "test"}):
        raise ValueError(
            f"{files[0].parent} has {', '.join(path.name for path in files)}: "
            "name one NAME.tsv, or NAME.train.tsv, NAME.test.tsv and maybe NAME.dev.tsv"
        )
    texts: list[str] = []
    labels: list[int] = []
    part: list[int] = []
    for name, path in parts.items():
        for number, line in enumerate(lines(path), 1):
            label, tab, text = line.partition("\t")
            if not tab or not label.isdecimal():
                raise ValueError(f"{path}, line {number} is {line[:40]!r}: it must be a label from 0 on, a tab, a text")
            texts.append(text)
            labels.append(int(label))
            part.append(("train", "dev", "test").index(name) if name else 0)
    if len(texts) < FEWEST or len({*labels}) < 2:
        raise ValueError(
            f"{files[0]} has {len(texts)} sentences of {len({*labels})} classes: at least {FEWEST} of 2 are needed"
        )
    split = Texts.of(splitter.tokenized(texts))
    return Sentences(split, np.array(labels), np.array(part) if "" not in parts else None)
