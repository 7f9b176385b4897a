"""Static embedding models: a tokenizer, a row for each of its ids, and the mean of a text's rows as its vector.

A folder of one is what model2vec and sentence-transformers (`StaticEmbedding`) leave, with the compressed rows in the
place of the table: `tokenizer.json`; `model.safetensors`, a payload; `config.json`, which says how rows are pooled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.documents import parsed
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.storage import load
from eigenselect.compressors.words import brief
from eigenselect.export.choices import SHORTEST

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

CONFIG, TOKENIZER, PAYLOAD = "config.json", "tokenizer.json", "model.safetensors"
"""The files of a folder."""

VERSION = 1
"""Of `config.json`."""

BATCH = 1024
"""Texts that are tokenized at once."""


@dataclass(frozen=True)
class Pooling:
    """How a text becomes a vector.

    Attributes:
        normalize: whether the mean is divided by its length.
        max_length: tokens of a text that are taken, or None for all.
        skipped: ids of tokens that are not part of the mean.
    """

    normalize: bool = False
    max_length: int | None = None
    skipped: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if type(self.max_length) not in (int, type(None)) or not 1 <= (self.max_length or 1) < 1 << 31:
            raise ValueError(f"max_length is {brief(repr(self.max_length))}: it must be null or an integer above 0")
        if not all(type(id) is int for id in self.skipped):
            raise ValueError(f"ids of skipped tokens are {brief(repr(self.skipped))}: they must be integers")


@dataclass(frozen=True, eq=False)
class StaticModel:
    """Texts to vectors: `encode` is that of model2vec's `StaticModel`, and of a `SentenceTransformer` of such a model.

    Needs numpy and the package tokenizers: no torch, no ONNX Runtime.

    Attributes:
        tokenizer: content of a `tokenizer.json`.
        payload: a row for each id of the tokenizer.
        pooling: how rows become a vector.
        source: the configuration of the model that was compressed.

    Raises:
        ValueError: the tokenizer has an id without a row.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> model = {"type": "WordLevel", "vocab": {"good": 0, "morning": 1, "?": 2}, "unk_token": "?"}
        >>> words = {"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model}
        >>> rows = Dense(np.array([[2, 0], [0, 4], [9, 9]], np.float32))
        >>> StaticModel(json.dumps(words), rows, Pooling(skipped=(2,))).encode("good morning everyone")
        array([1., 2.], dtype=float32)
    """

    tokenizer: str
    payload: Payload
    pooling: Pooling = Pooling()
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            last = max(map(int, ids_of(parsed(self.tokenizer)).values()), default=-1)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"the tokenizer has no vocabulary that is read: {brief(error)}") from error
        if last >= self.payload.n:
            raise ValueError(
                f"the tokenizer has the id {last}, and there are {self.payload.n} rows: they are not one's"
            )

    @staticmethod
    def load(folder: str | Path) -> StaticModel:
        """The model of a folder that `save` or a selection wrote.

        Raises:
            ValueError: not such a folder.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is not the folder of a static model: {error}") from error
        if not isinstance(config, dict) or config.get("eigenselect_static") != VERSION:
            raise ValueError(
                f"{folder / CONFIG} is not that of a compressed static model: compress the folder first, or upgrade "
                "eigenselect if a newer version wrote it"
            )
        pooling = Pooling(config["normalize"], config["max_length"], tuple(config["skipped"]))
        return StaticModel(tokenizer, load(folder / PAYLOAD), pooling, config["source"])

    def save(self, folder: Path) -> None:
        """Write the files to `folder`, which is made if it is not there; the tokenizer's without white space."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"eigenselect_static": VERSION, **asdict(self.pooling), "source": self.source}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        packed = json.dumps(json.loads(self.tokenizer), separators=(",", ":"), ensure_ascii=False)
        (folder / TOKENIZER).write_text(packed, encoding="utf-8")
        self.payload.save(folder / PAYLOAD)

    def encode(self, texts: str | Sequence[str], *, normalize: bool | None = None) -> Vectors:
        """The vectors of texts.

        Args:
            texts: one, or several.
            normalize: whether they have length 1; None as the model has it.

        Returns:
            (k,) float32 of one text, (len, k) of several; zeros of a text without tokens.
        """
        if isinstance(texts, str):
            one: Vectors = self.encode([texts], normalize=normalize)[0]
            return one
        normalize = self.pooling.normalize if normalize is None else normalize
        batches = [self.pool(*self.tokenize(texts[at : at + BATCH]), normalize) for at in range(0, len(texts), BATCH)]
        return np.concatenate([np.empty((0, self.payload.k), np.float32), *batches])

    def tokenize(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """The ids of texts, one text after the other, and where each text begins: the inputs of `sentences.onnx`."""
        most = self.pooling.max_length
        if most is not None:
            texts = [text[: most * self._median_length] for text in texts]
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        skipped = {*self.pooling.skipped}
        ids = [[id for id in encoding.ids if id not in skipped] for encoding in encodings]
        lengths = np.array([len(each) for each in ids], dtype=np.int64)
        return np.array([id for each in ids for id in each], dtype=np.int64), np.cumsum(lengths) - lengths

    def pool(self, ids: Ids, offsets: Ids, normalize: bool = True) -> Vectors:
        """The vectors of texts of known ids.

        Args:
            ids: (t,) of all texts.
            offsets: (b,) where each text begins.
            normalize: whether they have length 1.
        """
        return mean_rows(self.payload, ids, offsets, normalize)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ValueError(
                "a static model needs the package tokenizers, which is not installed: pip install 'eigenselect[static]'"
            ) from error
        try:
            found = Tokenizer.from_str(self.tokenizer)
        except Exception as error:  # the library has no class of its own
            raise ValueError(f"{TOKENIZER} is not one that the package tokenizers reads: {brief(error)}") from error
        found.no_padding()
        if self.pooling.max_length is None:
            found.no_truncation()
        else:
            found.enable_truncation(self.pooling.max_length)
        return found

    @cached_property
    def _median_length(self) -> int:
        """Characters of a token: model2vec cuts texts by it before they are tokenized."""
        return int(np.median([len(token) for token in self._tokenizer.get_vocab()]))


def mean_rows(payload: Payload, ids: Ids, offsets: Ids, normalize: bool) -> Vectors:
    """Means of the decoded rows of bags, (b, k) float32; see `StaticModel.pool`."""
    sums = payload.read_sums(ids, offsets)
    counts = np.diff(offsets, append=len(ids))[:, None]
    means: Vectors = (sums / np.maximum(counts, 1)).astype(np.float32)
    if normalize:
        np.divide(means, np.maximum(np.linalg.norm(means, axis=1, keepdims=True), SHORTEST), out=means)
    return means


def ids_of(tokenizer: dict[str, Any]) -> dict[str, int]:
    """Token -> id of a `tokenizer.json`, those that were added to its model included."""
    vocabulary: Any = tokenizer["model"].get("vocab", {})
    if isinstance(vocabulary, list):  # of a Unigram model: pairs of a token and its score
        vocabulary = {token: id for id, (token, _) in enumerate(vocabulary)}
    return {**vocabulary, **{added["content"]: added["id"] for added in tokenizer.get("added_tokens", [])}}
