"""Questions on contexts, as SQuAD has them (Rajpurkar et al. 2016), and the sentence that answers each."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eigenselect.selector.evidence.tasks.base import Vocabulary
from eigenselect.selector.evidence.tasks.sentences import FEWEST


@dataclass(frozen=True)
class Questions:
    """Questions, and what answers them; tokens stand between spaces.

    Attributes:
        questions: the questions.
        sentences: the distinct sentences of their contexts.
        answers: of each question, the place of the sentence that holds its answer.
    """

    questions: list[str]
    sentences: list[str]
    answers: list[int]


def read_questions(files: Sequence[Path], contexts: int | None = None) -> Questions:
    """The questions on all contexts, or on as many that are drawn, the same for everyone.

    Sentences end at ".", "?" or "!", and what has no letter or digit belongs to the sentence before. Questions whose
    span does not hold their answer are left out.

    Raises:
        ValueError: a file of another form, or too few sentences.
    """
    of_context: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for path in files:
        for context, question, start in _questions(path):
            of_context.setdefault(tuple(context), []).append((" ".join(question), start))
    every = list(of_context)
    sentences = Vocabulary()
    questions: list[str] = []
    answers: list[int] = []
    for row in np.sort(np.random.default_rng(0).permutation(len(every))[:contexts]):
        ends = sentence_ends(every[row])
        ids = sentences.ids(" ".join(part) for part in _parts(every[row], ends))
        for asked, start in of_context[every[row]]:
            questions.append(asked)
            answers.append(ids[int(np.searchsorted(ends, start, side="right"))])
    if len(sentences.words) < FEWEST:
        raise ValueError(
            f"{files[0]} has {len(sentences.words)} sentences in the contexts of {len(questions)} questions: at "
            f"least {FEWEST} are needed"
        )
    return Questions(questions, sentences.words, answers)


def _questions(path: Path) -> list[tuple[list[str], list[str], int]]:
    """The context, the question and the first token of the answer, of each line whose span holds its answer.

    Raises:
        ValueError: the file cannot be read, or a line is of another form.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            read = file.read().split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text in gzip: {error}") from error
    found = []
    for number, line in enumerate(read, 1):
        if not line and number == len(read):
            break
        try:
            given = json.loads(line)
            context, question, answer, span = (given[key] for key in ("context", "question", "answer", "span"))
            start, last = span
            right = all(isinstance(tokens, list) for tokens in (context, question, answer))
            right = right and all(isinstance(token, str) for token in [*context, *question, *answer])
            right = right and type(start) is int and type(last) is int
        except (ValueError, TypeError, KeyError):
            right = False
        if not right:
            raise ValueError(
                f"{path}, line {number} is {line[:40]!r}: it must be a JSON object with the lists of tokens context, "
                "question and answer, and the span [first, last] of the answer in the context"
            )
        if answer and start >= 0 and context[start : last + 1] == answer:
            found.append((context, question, start))
    return found


def sentence_ends(context: Sequence[str]) -> list[int]:
    """Where each sentence ends: the place after its last token."""
    ends, ended = [], False
    for at, token in enumerate(context):
        if ended and any(letter.isalnum() for letter in token):
            ends.append(at)
            ended = False
        ended = ended or token in (".", "?", "!")
    return [*ends, len(context)]


def _parts(context: Sequence[str], ends: Sequence[int]) -> list[Sequence[str]]:
    return [context[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
