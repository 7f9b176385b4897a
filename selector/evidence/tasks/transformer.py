"""A transformer with the candidate in place of its word table: its sentence similarity, and what it retrieves.

The vector of a text is the mean of the model's last hidden states over its pieces, those of [CLS] and [SEP] among them.
Texts are split by WordPiece; those of more than `LONGEST` pieces are cut. What is drawn is the same for everyone.
"""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from eigenselect.export import Encoder
from eigenselect.selector.evidence.analysis.statistics import spearman
from eigenselect.selector.evidence.tasks.base import Ids, Known, Task, Vectors, unit
from eigenselect.selector.evidence.tasks.sentences import FEWEST, Sentences
from eigenselect.selector.evidence.tasks.squad import read_questions
from eigenselect.selector.sources.tokens import read_tokens

LONGEST = 128
"""Pieces of a text."""

BATCH = 64

SENTENCES = 500
"""Drawn for `OwnSimilarity`, and partners of each."""

PARTNERS = 2

CONTEXTS = 150
"""Drawn for `AnswerRetrieval`, with all of their questions."""

SPECIAL = ("[UNK]", "[CLS]", "[SEP]")
"""Pieces that a text cannot be split without."""


class Transformer:
    """A model and its WordPiece vocabulary, both only read: it may be used by several threads at once.

    The text is lower-cased and stripped of accents unless the vocabulary has a piece with a capital.

    Attributes:
        files: what it was read from.
        pieces: of the vocabulary; the place of each is its row of the table.
        table: (n, k) float32, the model's own.
    """

    def __init__(self, model: Path, vocabulary: Path | None) -> None:
        try:
            from tokenizers.implementations import BertWordPieceTokenizer
        except ImportError as error:
            raise ValueError(
                "validate.model needs the package tokenizers, which is not installed: pip install "
                "'eigenselect[evidence]'"
            ) from error
        if vocabulary is None:
            raise ValueError(f"validate.model = {model} needs the pieces of its table: give them as table.tokens=FILE")
        if not vocabulary.is_file():
            raise ValueError(f"table.tokens = {vocabulary}: no such file: correct the path")
        self.pieces = read_tokens(vocabulary)
        row_of = {piece: row for row, piece in enumerate(self.pieces)}
        if lacking := [piece for piece in SPECIAL if piece not in row_of]:
            raise ValueError(
                f"{vocabulary} has no {', '.join(lacking)}: validate.model needs a WordPiece vocabulary with "
                f"{', '.join(SPECIAL)}, the one that the model was trained with"
            )
        self._encoder = Encoder.open(model, LONGEST)
        self.table = self._encoder.table
        if len(self.pieces) != len(self.table):
            raise ValueError(
                f"{vocabulary} has {len(self.pieces)} pieces, the table of {model} {len(self.table)} rows: give the "
                "vocabulary that the model was trained with"
            )
        self.files = [*self._encoder.files, vocabulary]
        cased = any(piece != piece.lower() for piece in self.pieces if not piece.startswith("["))
        self._tokenizer = BertWordPieceTokenizer(row_of, lowercase=not cased)
        self._tokenizer.enable_truncation(LONGEST)

    def split(self, texts: Sequence[str]) -> list[Ids]:
        """The rows of the pieces of each text, with those of [CLS] and [SEP]."""
        return [np.array(each.ids, dtype=np.int64) for each in self._tokenizer.encode_batch(list(texts))]

    def vectors(self, table: Vectors, split: Sequence[Ids]) -> Vectors:
        """(len(split), h): the vector of each text, of length 1, with `table` (n, k) as the model's.

        Texts of one length are run together, so that nothing is padded.
        """
        table = np.ascontiguousarray(table, dtype=np.float32)
        lengths = np.array([len(ids) for ids in split])
        parts, order = [], []
        for length in np.unique(lengths):
            of_length = np.flatnonzero(lengths == length)
            for at in range(0, len(of_length), BATCH):
                rows = of_length[at : at + BATCH]
                states = self._encoder.states(table, np.stack([split[row] for row in rows]))
                parts.append(states.mean(axis=1))
                order.append(rows)
        found = np.empty((len(split), parts[0].shape[1]), dtype=np.float32)
        found[np.concatenate(order)] = np.concatenate(parts)
        return unit(found)


class TransformerTask(Task):
    """Something done with the vectors that a transformer has for texts.

    Attributes:
        transformer: the model.
    """

    def __init__(self, name: str, files: Sequence[Path], transformer: Transformer, texts: Iterable[str]) -> None:
        self.name, self.files = name, [*files, *transformer.files]
        self.words, self.shape = transformer.pieces, transformer.table.shape
        self.transformer = transformer
        self._split = transformer.split(list(texts))

    def missing(self, known: Known) -> float:  # noqa: D102
        return float(1 - known[np.concatenate(self._split)].mean())

    @property
    def digest(self) -> str:  # noqa: D102
        source = Path(inspect.getfile(Encoder)).read_bytes()
        return hashlib.sha256(super().digest.encode() + source).hexdigest()


class OwnSimilarity(TransformerTask):
    """How far the model still finds alike what it finds alike with its own table; no label is used.

    The score is the Spearman correlation, over fixed pairs of sentences, of the cosine of their vectors with the cosine
    that they have with the model's own table; 0 where it is undefined.

    `SENTENCES` sentences are drawn from those of the test part where a split is published, else from all. Two sentences
    drawn at random have little to do with each other. So that the pairs spread from near to far, each sentence has
    `PARTNERS` partners of which the place r among the other sentences, the most similar by the own table first, is
    drawn with density 1/r.
    """

    def __init__(self, name: str, files: Sequence[Path], sentences: Sentences, transformer: Transformer) -> None:
        rows = np.arange(len(sentences.texts)) if sentences.part is None else np.flatnonzero(sentences.part == 2)
        words, ids = sentences.texts.words, sentences.texts.ids
        texts = list(dict.fromkeys(" ".join(words[at] for at in ids[row]) for row in rows))
        if len(texts) < FEWEST:
            raise ValueError(
                f"{name} can draw from {len(texts)} different sentences, of the test part where there is one: at least "
                f"{FEWEST} are needed; add to {files[0].parent}, or leave {name} out of validate.include"
            )
        drawn = np.sort(np.random.default_rng(0).permutation(len(texts))[:SENTENCES])
        super().__init__(name, files, transformer, [texts[row] for row in drawn])
        self._lock = threading.Lock()
        self._own: tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None = None

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        pairs, own = self._pairs()
        correlation = float(spearman(_cosines(self.transformer.vectors(vectors, self._split), pairs), own))
        return 0.0 if np.isnan(correlation) else correlation

    def _pairs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The (2, pairs) sentences and the cosines by the own table, computed once, by whoever needs them first."""
        with self._lock:
            if self._own is None:
                vectors = self.transformer.vectors(self.transformer.table, self._split)
                similarity = vectors @ vectors.T
                np.fill_diagonal(similarity, np.inf)
                nearest = np.argsort(-similarity, axis=1, kind="stable")  # each itself first
                m = len(vectors)
                places = np.floor(m ** np.random.default_rng(1).random((m, PARTNERS))).astype(np.int64)
                pairs = np.stack([np.repeat(np.arange(m), PARTNERS), np.take_along_axis(nearest, places, 1).ravel()])
                self._own = pairs, _cosines(vectors, pairs)
            return self._own


def _cosines(vectors: Vectors, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of vectors of length 1."""
    first, second = vectors[pairs].astype(np.float64)
    cosines: npt.NDArray[np.float64] = (first * second).sum(axis=1)
    return cosines


class AnswerRetrieval(TransformerTask):
    """How high the sentence that answers a question is among the sentences of many contexts.

    The score is the mean reciprocal rank of the sentence that holds the answer when all are ordered by the cosine of
    their vectors with the question's; sentences of equal cosine share their mean rank. `CONTEXTS` contexts are drawn.
    """

    def __init__(self, name: str, files: Sequence[Path], transformer: Transformer) -> None:
        asked = read_questions(files, CONTEXTS)
        super().__init__(name, files, transformer, [*asked.questions, *asked.sentences])
        self._answers = np.array(asked.answers)

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        found = self.transformer.vectors(vectors, self._split)
        questions, sentences = np.split(found, [len(self._answers)])
        ranks = rankdata(-(questions @ sentences.T), axis=1)
        return float((1 / ranks[np.arange(len(ranks)), self._answers]).mean())
