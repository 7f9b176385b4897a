"""Folders of static embedding models, as model2vec and sentence-transformers (`StaticEmbedding`) leave them.

A table (`embeddings` of model2vec, `embedding.weight` of sentence-transformers) with `tokenizer.json`; of a model whose
vocabulary was merged also `mapping`, the row of each id, and `weights`, a factor for each id. The rows of a text's
tokens are averaged: model2vec leaves unknown tokens out, sentence-transformers padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from eigenselect.compressors import Payload
from eigenselect.compressors.documents import parsed
from eigenselect.compressors.payloads.composed import Scaled
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.mapped import Mapped
from eigenselect.compressors.whole import inside
from eigenselect.compressors.words import NAME, brief
from eigenselect.export.tokens.static_model import TOKENIZER, Pooling, StaticModel, ids_of

WEIGHTS_FILE = "model.safetensors"

MODEL2VEC, SENTENCE_TRANSFORMERS = "embeddings", "embedding.weight"
"""Names of the table, each of which is that of one form."""

OTHERS = {"weights", "mapping"}

FOLLOWED = ("StaticEmbedding", "Normalize")
"""Modules of sentence-transformers: the first one, and the one that may come after it."""

MAX_LENGTH = 512
"""Tokens that model2vec takes of a text unless its configuration has another number."""


@dataclass(frozen=True)
class StaticFolder:
    """What a folder holds beside its table.

    Attributes:
        file: that holds the table.
        tensor: name of the table.
        shape: (n, d) of the table.
        nbytes: that the file and the tokenizer take.
        tokenizer: content of `tokenizer.json`.
        pooling: how rows become a vector.
        config: what the folder says of itself.
        rows: (vocabulary,) int32, the row of each id, or None where id i has row i.
        weights: (vocabulary, 1) float32, the factor of each id's row, or None for 1.
    """

    file: Path
    tensor: str
    shape: tuple[int, int]
    nbytes: int
    tokenizer: str
    pooling: Pooling
    config: dict[str, Any]
    rows: npt.NDArray[np.int32] | None
    weights: npt.NDArray[np.float32] | None

    def model(self, table: Payload) -> StaticModel:
        """The model with those rows in the place of its table.

        Raises:
            ValueError: the tokenizer's ids, the rows and the factors do not go together.
        """
        try:
            payload = table if self.rows is None else Mapped(table, self.rows)
            if self.weights is not None:
                payload = Scaled(payload, Dense(self.weights))
            return StaticModel(self.tokenizer, payload, self.pooling, self.config)
        except ValueError as error:
            raise ValueError(f"{self.file.with_name(TOKENIZER)} or {self.file.name}: {brief(error)}") from error


def read(folder: Path) -> StaticFolder | None:
    """What a folder holds, if it is one of a static model.

    Raises:
        ValueError: it is, and cannot be followed.
    """
    try:
        return _read(folder)
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # JSON of another shape
        raise ValueError(
            f"{folder}: its files are not those of a static model ({type(error).__name__}: {brief(error)}): fetch it "
            "again, or give the file of the table"
        ) from error


def _read(folder: Path) -> StaticFolder | None:
    modules = _modules(folder)
    inner = inside(folder, modules[0]["path"]) if modules else folder
    file, tokenizer = inner / WEIGHTS_FILE, inner / TOKENIZER
    if not file.is_file() or not tokenizer.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as opened:
            names = {*opened.keys()}
            tensor = next(iter(names & {MODEL2VEC, SENTENCE_TRANSFORMERS}), None)
            if tensor is None or names - {tensor, *OTHERS}:
                return None
            shape = tuple(opened.get_slice(tensor).get_shape())
            others = {name: opened.get_tensor(name).reshape(-1) for name in names & OTHERS}
    except SafetensorError as error:
        raise ValueError(f"{file}: not a whole safetensors file ({brief(error)}): fetch it again") from error
    if other := [module["type"] for module in modules if module["type"].rpartition(".")[2] not in FOLLOWED]:
        raise ValueError(
            f"{folder / 'modules.json'} has {brief(other[0], NAME)} after the embeddings, which is not followed: give "
            f"table.path={file} to compress the table alone"
        )
    config, words = _config(folder), _json(tokenizer)
    rows, weights = others.get("mapping"), others.get("weights")
    if rows is not None and (rows.dtype.kind not in "iu" or not ((rows >= 0) & (rows < shape[0])).all()):
        raise ValueError(f"{file}: mapping holds others than rows from 0 to {shape[0] - 1}: fetch it again")
    if weights is not None and not np.isfinite(weights.astype(np.float32)).all():
        raise ValueError(f"{file}: weights that are not finite: fetch it again")
    try:
        pooling = _model2vec(config, words) if tensor == MODEL2VEC else _sentence_transformers(modules, words)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return StaticFolder(
        file=file,
        tensor=tensor,
        shape=(shape[0], shape[-1]),
        nbytes=file.stat().st_size + tokenizer.stat().st_size,
        tokenizer=tokenizer.read_text(encoding="utf-8"),
        pooling=pooling,
        config=config,
        rows=None if rows is None else rows.astype(np.int32),
        weights=None if weights is None else weights.astype(np.float32)[:, None],
    )


def _modules(folder: Path) -> list[dict[str, Any]]:
    """The modules of a model of sentence-transformers, in their order; none of another folder's."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = _json(path)
    return found if found and found[0]["type"].endswith(FOLLOWED[0]) else []


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in (folder / "config_sentence_transformers.json", folder / "config.json"):
        if path.is_file():
            found |= _json(path)
    return found


def _json(path: Path) -> Any:
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({brief(error)}): fetch it again") from error


def _model2vec(config: dict[str, Any], tokenizer: dict[str, Any]) -> Pooling:
    model = tokenizer["model"]
    unknown = model.get("unk_id")  # of a Unigram model; others name the token
    if (token := model.get("unk_token")) is not None:
        unknown = ids_of(tokenizer).get(token)
    length = config.get("max_length", MAX_LENGTH)
    return Pooling(bool(config.get("normalize", False)), length, () if unknown is None else (unknown,))


def _sentence_transformers(modules: list[dict[str, Any]], tokenizer: dict[str, Any]) -> Pooling:
    padding = tokenizer.get("padding")
    skipped = () if padding is None else (padding["pad_id"],)
    return Pooling(any(module["type"].endswith(FOLLOWED[1]) for module in modules), None, skipped)
