"""Which tasks a folder holds.

Layout of the folder, with tabs between what stands in a line of a .tsv file:

- `sentence/NAME.tsv`, or `NAME.train.tsv`, `NAME.test.tsv` and optionally `NAME.dev.tsv`: a label, a tokenised text;
- `wordsim/NAME.txt`: two words, a score; `wordsim/questions-words.txt`: four words;
- `sts/NAME.tsv`: a score, a sentence, a sentence; `paraphrase/NAME.tsv`: 0 or 1, a sentence, a sentence;
- `search/NAME.tsv`: 0 or 1, a query, a text; `squad/NAME.jsonl.gz`: a context, a question and the span of its answer;
- `ratings/NAME.train.tsv` and `NAME.test.tsv`: a user, an item, a rating.
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
from eigenselect.selector.evidence.tasks.pairs import Paraphrases, SentenceSimilarity
from eigenselect.selector.evidence.tasks.ratings import NextItems, RatingRegression
from eigenselect.selector.evidence.tasks.search import AnswerSearch, LabelledSearch
from eigenselect.selector.evidence.tasks.sentences import read_sentences
from eigenselect.selector.evidence.tasks.texts import Splitter, Words
from eigenselect.selector.evidence.tasks.transformer import AnswerRetrieval, OwnSimilarity, Transformer
from eigenselect.selector.evidence.tasks.wordsim import WordSimilarity

Readers = dict[str, Callable[[], Task]]
"""Name -> what reads the task."""


def catalogue(folder: Path, splitter: Splitter, model: Path | None = None, vocabulary: Path | None = None) -> Readers:
    """Every task that a folder holds; those of a transformer need its `model`."""
    found: Readers = {}
    transformer = None if model is None else cache(partial(Transformer, model, vocabulary))
    for name, files in _named(folder / "sentence").items():
        read = cache(partial(read_sentences, files, splitter))
        for prefix, kind in (("linear", SentenceLinear), ("cnn", SentenceCNN)):
            task = f"{prefix}_{name}"
            found[task] = partial(_task, kind, task, [*files, *splitter.files], read)
        if transformer is not None:
            task = f"similarity_{name}"
            found[task] = partial(
                _task, OwnSimilarity, task, files, partial(read_sentences, files, Words()), transformer
            )
    for path in sorted((folder / "wordsim").glob("*.txt")):
        if path.stem == "questions-words":
            found["analogy"] = partial(Analogy, "analogy", path, splitter)
        else:
            task = f"wordsim_{path.stem.removeprefix('EN-')}"
            found[task] = partial(WordSimilarity, task, path, splitter)
    for room, of_pairs in PAIRS.items():
        for path in sorted((folder / room).glob("*.tsv")):
            found[f"{room}_{path.stem}"] = partial(of_pairs, f"{room}_{path.stem}", path, splitter)
    for name, files in _named(folder / "ratings").items():
        for prefix, of_ratings in (("rating", RatingRegression), ("next", NextItems)):
            found[f"{prefix}_{name}"] = partial(of_ratings, f"{prefix}_{name}", files)
    if questions := sorted((folder / "squad").glob("*.jsonl.gz")):
        found["search_squad"] = partial(AnswerSearch, "search_squad", questions, splitter)
        if transformer is not None:
            found["retrieval_squad"] = partial(_task, AnswerRetrieval, "retrieval_squad", questions, transformer)
    return found


PAIRS: dict[str, Callable[[str, Path, Splitter], Task]] = {
    "sts": SentenceSimilarity,
    "paraphrase": Paraphrases,
    "search": LabelledSearch,
}
"""Folder, and the beginning of a task's name -> the task of one file in it."""


def _named(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder by what their names begin with: those of the parts of a split are together."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.tsv")):
        found.setdefault(path.name.split(".")[0], []).append(path)
    return found


def _task(kind: Callable[..., Task], name: str, files: Sequence[Path], *parts: Callable[[], object]) -> Task:
    """A task, and what it shares with others: that is read when the first of them is."""
    return kind(name, files, *(part() for part in parts))


def find(
    folder: Path,
    include: Sequence[str],
    splitter: Splitter,
    model: Path | None = None,
    vocabulary: Path | None = None,
) -> list[Task]:
    """The tasks of a folder whose names match one of the patterns `include`, by name.

    Args:
        folder: as above.
        include: `*` stands for any part of a name.
        splitter: what makes tokens of the table of texts.
        model: an ONNX model, for the tasks of a transformer.
        vocabulary: the pieces of its table, one a line.

    Raises:
        ValueError: not a folder, no task in it, a pattern that matches none, a file of another form, or a model or a
            vocabulary that cannot be used.
    """
    if not folder.is_dir():
        raise ValueError(
            f"validate.tasks = {folder} is not a folder: name one with sentence/NAME.tsv or sts/NAME.tsv, for example"
        )
    readers = catalogue(folder, splitter, model, vocabulary)
    if not readers:
        raise ValueError(
            f"validate.tasks = {folder} holds no task: it needs sentence/NAME.tsv or sts/NAME.tsv, for example"
        )
    more = "; similarity_NAME and retrieval_squad need validate.model" if model is None else ""
    for pattern in include:
        if not any(fnmatchcase(name, pattern) for name in readers):
            raise ValueError(
                f"validate.include has {pattern!r}, which no task matches; there are {', '.join(readers)}{more}"
            )
    return [read() for name, read in sorted(readers.items()) if any(fnmatchcase(name, each) for each in include)]
