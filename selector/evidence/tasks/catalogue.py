"""Which tasks a folder holds.

Layout of the folder: `sentence/NAME.tsv`, or `NAME.train.tsv`, `NAME.test.tsv` and optionally `NAME.dev.tsv`, with a
label and a tokenised text a line; `wordsim/NAME.txt` with two words and a score a line;
`wordsim/questions-words.txt` with four words a line; `squad/NAME.jsonl.gz` with a context, a question and the span of
its answer a line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path

from eigenselect.selector.evidence.tasks.analogy import Analogy
from eigenselect.selector.evidence.tasks.base import Task
from eigenselect.selector.evidence.tasks.cnn import SentenceCNN
from eigenselect.selector.evidence.tasks.linear import SentenceLinear
from eigenselect.selector.evidence.tasks.sentences import read_sentences
from eigenselect.selector.evidence.tasks.transformer import AnswerRetrieval, OwnSimilarity, Transformer
from eigenselect.selector.evidence.tasks.wordsim import WordSimilarity


def catalogue(folder: Path, model: Path | None = None, vocabulary: Path | None = None) -> dict[str, Callable[[], Task]]:
    """Name -> what reads the task, of every task that a folder holds; those of a transformer need its `model`."""
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
        ValueError: not a folder, no task in it, a pattern that matches none, a file of another form, or a model or a
            vocabulary that cannot be used.
    """
    if not folder.is_dir():
        raise ValueError(
            f"validate.tasks = {folder} is not a folder: name one with sentence/NAME.tsv or wordsim/NAME.txt"
        )
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
