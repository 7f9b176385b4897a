"""Texts as tokens of a table, and the mean of their rows as the vector of a text."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from eigenselect.compressors import Payload
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export.tokens.static_model import TOKENIZER, ids_of
from eigenselect.selector.evidence.tasks.base import Ids, Known, Vectors, Vocabulary, unit
from eigenselect.selector.sources.static import StaticFolder

WORD = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)|\w+|[^\w\s]", re.IGNORECASE)
"""A word, a clitic ("do" and "n't", "it" and "'s") or a sign, as tables of words have them."""


@dataclass(frozen=True)
class Texts:
    """Texts of token ids.

    Attributes:
        words: the distinct tokens; ids count from 0 on.
        ids: one array of ids a text.
    """

    words: list[str]
    ids: list[Ids]

    @classmethod
    def of(cls, tokens: Sequence[Sequence[str]]) -> Self:
        """The tokens of each text, numbered."""
        vocabulary = Vocabulary()
        ids = [np.array(vocabulary.ids(each), dtype=np.int64) for each in tokens]
        return cls(vocabulary.words, ids)

    def __len__(self) -> int:
        return len(self.ids)

    def pooled(self, vectors: Vectors) -> npt.NDArray[np.float64]:
        """(texts, k): the mean vector of each text's tokens, unknown ones counted as zero; zero of an empty text."""
        lengths = np.array([len(ids) for ids in self.ids])
        weights = np.repeat(1 / np.maximum(lengths, 1), lengths)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        mean = sparse.csr_array((weights, self._flat, ends), shape=(len(self.ids), len(self.words)), dtype=np.float64)
        pooled: npt.NDArray[np.float64] = mean @ vectors.astype(np.float64)
        return pooled

    def directions(self, vectors: Vectors) -> Vectors:
        """(texts, k): the mean vector of each text with length 1; a zero one stays zero."""
        return unit(self.pooled(vectors))

    def cosines(self, vectors: Vectors) -> npt.NDArray[np.float64]:
        """(texts / 2,): of each text in an even place with the one after it; 0 where one has no known token."""
        one, other = self.directions(vectors).astype(np.float64).reshape(-1, 2, vectors.shape[1]).swapaxes(0, 1)
        cosines: npt.NDArray[np.float64] = (one * other).sum(axis=1)
        return cosines

    def known(self, known: Known) -> Known:
        """(texts,): whether every token of a text is known, and there is one."""
        return np.array([len(ids) > 0 and bool(known[ids].all()) for ids in self.ids], dtype=np.bool_)

    def missing(self, known: Known) -> float:
        """Share of the tokens that are not known."""
        return float(1 - known[self._flat].mean()) if len(self._flat) else 1.0

    @property
    def _flat(self) -> Ids:
        return np.concatenate([np.zeros(0, np.int64), *self.ids])


class Splitter(ABC):
    """How tokens of a table are made of texts, and where their rows are.

    Attributes:
        files: that it was read from.
    """

    files: Sequence[Path] = ()

    @abstractmethod
    def tokenized(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of texts whose words and signs stand between spaces."""

    @abstractmethod
    def raw(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of texts as they are written."""

    @abstractmethod
    def row_of(self, tokens: Sequence[str] | None) -> Mapping[str, int]:
        """Token -> its row in what `rows` gives, for a table with these tokens.

        Raises:
            ValueError: they are needed, and there are none.
        """

    @abstractmethod
    def rows(self, payload: Payload) -> Payload:
        """What tokens are looked up in, of a payload of the table."""


class Words(Splitter):
    """Into words, as plain tables have them.

    >>> Words().raw(["It doesn't rain."])
    [['It', 'does', "n't", 'rain', '.']]
    """

    def tokenized(self, texts: Sequence[str]) -> list[list[str]]:  # noqa: D102
        return [text.split() for text in texts]

    def raw(self, texts: Sequence[str]) -> list[list[str]]:  # noqa: D102
        return [WORD.findall(text) for text in texts]

    def row_of(self, tokens: Sequence[str] | None) -> Mapping[str, int]:  # noqa: D102
        if tokens is None:
            raise ValueError("validate.tasks needs the tokens of the table: give them as table.tokens")
        return {token: row for row, token in enumerate(tokens)}

    def rows(self, payload: Payload) -> Payload:  # noqa: D102
        return payload


class StaticTokens(Splitter):
    """Into the tokens of a static model, without those that its mean leaves out.

    Args:
        given: the folder of the model.
    """

    def __init__(self, given: StaticFolder) -> None:
        self._given = given
        self.files = [given.file.parent / TOKENIZER]
        self._ids = ids_of(json.loads(given.tokenizer))
        self._tokens = {id: token for token, id in self._ids.items()}
        self._model = given.model(Dense(np.zeros((given.shape[0], 1), np.float16)))

    def tokenized(self, texts: Sequence[str]) -> list[list[str]]:  # noqa: D102
        return self.raw(texts)

    def raw(self, texts: Sequence[str]) -> list[list[str]]:  # noqa: D102
        ids, offsets = self._model.tokenize(texts)
        return [[self._tokens[id] for id in part.tolist()] for part in np.split(ids, offsets[1:])]

    def row_of(self, tokens: Sequence[str] | None) -> Mapping[str, int]:  # noqa: D102
        return self._ids

    def rows(self, payload: Payload) -> Payload:  # noqa: D102
        return self._given.model(payload).payload
