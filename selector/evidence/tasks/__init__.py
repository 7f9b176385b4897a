"""What a task is, and which ones a folder holds.

Layout of the folder: `sentence/NAME.tsv`, or `NAME.train.tsv`, `NAME.test.tsv` and optionally `NAME.dev.tsv`, with a
label and a tokenised text a line; `wordsim/NAME.txt` with two words and a score a line;
`wordsim/questions-words.txt` with four words a line; `squad/NAME.jsonl.gz` with a context, a question and the span of
its answer a line.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Known = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]


SOURCES = ("tasks", "sentences", "statistics", "wordsim")
"""Modules of this package that a task's own rests on."""


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
        folder = Path(__file__).parent
        sources = [Path(inspect.getfile(type(self))), *(folder / f"{name}.py" for name in SOURCES)]
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


def catalogue(folder: Path, model: Path | None = None, vocabulary: Path | None = None) -> dict[str, Callable[[], Task]]:
    """Name -> what reads the task, of every task that a folder holds; those of a transformer need its `model`."""
    from eigenselect.selector.evidence.tasks.analogy import Analogy
    from eigenselect.selector.evidence.tasks.cnn import SentenceCNN
    from eigenselect.selector.evidence.tasks.linear import SentenceLinear
    from eigenselect.selector.evidence.tasks.sentences import read_sentences
    from eigenselect.selector.evidence.tasks.transformer import AnswerRetrieval, OwnSimilarity, Transformer
    from eigenselect.selector.evidence.tasks.wordsim import WordSimilarity

    transformer = None if model is None else cache(partial(Transformer, model, vocabulary))
    found: dict[str, Callable[[], Task]] = {}
    sentences: dict[str, list[Path]] = {}
    for path in sorted((folder / "sentence").glob("*.tsv")):
        sentences.setdefault(path.name.split(".")[0], []).append(path)
    for name, files in sentences.items():
        read = cache(partial(read_sentences, files))
        for prefix, kind in (("linear", SentenceLinear), ("cnn", SentenceCNN)):
            found[f"{prefix}_{name}"] = partial(_task, kind, f"{prefix}_{name}", files, read)
        if transformer is not None:
            similarity = f"similarity_{name}"
            found[similarity] = partial(_task, OwnSimilarity, similarity, files, read, transformer)
    for path in sorted((folder / "wordsim").glob("*.txt")):
        if path.stem == "questions-words":
            found["analogy"] = partial(Analogy, "analogy", path)
        else:
            name = f"wordsim_{path.stem.removeprefix('EN-')}"
            found[name] = partial(WordSimilarity, name, path)
    questions = sorted((folder / "squad").glob("*.jsonl.gz"))
    if questions and transformer is not None:
        found["retrieval_squad"] = partial(_task, AnswerRetrieval, "retrieval_squad", questions, transformer)
    return found


def _task(kind: Callable[..., Task], name: str, files: Sequence[Path], *parts: Callable[[], object]) -> Task:
    """A task, and what it shares with others: that is read when the first of them is."""
    return kind(name, files, *(part() for part in parts))


def find(folder: Path, include: Sequence[str], model: Path | None = None, vocabulary: Path | None = None) -> list[Task]:
    """The tasks of a folder whose names match one of the patterns `include`, by name.

    Args:
        folder: as above.
        include: `*` stands for any part of a name.
        model: an ONNX model, for the tasks of a transformer.
        vocabulary: the pieces of its table, one a line.

    Raises:
        ValueError: no folder, no task in it, a pattern that matches none, a file of another form, or a model or a
            vocabulary that cannot be used.
    """
    if not folder.is_dir():
        raise ValueError(f"validate.tasks = {folder} is no folder: name one with sentence/NAME.tsv or wordsim/NAME.txt")
    readers = catalogue(folder, model, vocabulary)
    if not readers:
        raise ValueError(f"validate.tasks = {folder} holds no task: it needs sentence/NAME.tsv or wordsim/NAME.txt")
    more = "; similarity_NAME and retrieval_squad need validate.model" if model is None else ""
    for pattern in include:
        if not any(fnmatchcase(name, pattern) for name in readers):
            raise ValueError(
                f"validate.include has {pattern!r}, which no task matches; there are {', '.join(readers)}{more}"
            )
    return [read() for name, read in sorted(readers.items()) if any(fnmatchcase(name, each) for each in include)]
