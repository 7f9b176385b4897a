"""What a task is, and what several of them use."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Known = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]

SOURCES = (*(f"tasks/{name}.py" for name in ("base", "texts", "sentences", "squad")), "analysis/statistics.py")
"""Files of `selector.evidence` that a task's own module rests on."""


class Task(ABC):
    """Something to do with word vectors that gets a score, of which more is better.

    Attributes:
        name: unique among the tasks.
        words: the distinct words that it looks up.
        files: what it was read from.
    """

    seeded = False
    """Whether the score depends on a seed, and not on the vectors alone."""

    shape: tuple[int, int] | None = None
    """(n, d) of the one table that it is done with, in whose own coordinates; None takes vectors of any dimension."""

    name: str
    words: Sequence[str]
    files: Sequence[Path]

    @abstractmethod
    def score(self, vectors: Vectors, known: Known, seed: int) -> float:
        """What is reached with the (len(words), k) vectors of `words`; those that are not `known` are zero."""

    @abstractmethod
    def missing(self, known: Known) -> float:
        """Share of what is looked up that is not `known`: of the tokens of sentences, of pairs, of questions."""

    @property
    def digest(self) -> str:
        """SHA-256 of its name, its files and the sources of what is done with them: a score is good for these alone."""
        digest = hashlib.sha256(self.name.encode())
        room = Path(__file__).parents[1]
        sources = [Path(inspect.getfile(type(self))), *(room / name for name in SOURCES)]
        for path in [*sources, *self.files]:
            digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()


class Vocabulary:
    """Words in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def ids(self, words: Iterable[str]) -> list[int]:
        """The id of each word, a new one for each new word."""
        return [self._ids.setdefault(word, len(self._ids)) for word in words]

    @property
    def words(self) -> list[str]:
        """Every word in the order of the ids."""
        return list(self._ids)


def rows_of_words(words: Iterable[str], row_of: Mapping[str, int]) -> Ids:
    """The row of each word, as it is written or else lower-cased; -1 of one that the table lacks."""
    return np.array([row_of.get(word, row_of.get(word.lower(), -1)) for word in words], dtype=np.int64)


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text: {error}") from error


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    """The vectors with length 1; a zero one stays zero."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
