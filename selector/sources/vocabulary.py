"""The tokens of a model, as its tokenizer numbers them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from eigenselect.compressors.documents import parsed
from eigenselect.compressors.words import brief
from eigenselect.selector.sources.fields import decode
from eigenselect.selector.sources.format import Found
from eigenselect.selector.sources.rows import padding_names

Ids = dict[int, str]


def vocabulary(folder: Path) -> Ids:
    """The token of each id that the tokenizer of a folder knows, from the first file of `FILES` that is there.

    Raises:
        ValueError: a file that is not what its name says, or whose library is not installed.
    """
    for name, read in FILES.items():
        if (path := folder / name).is_file():
            try:
                return read(path)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(
                    f"{path}: no vocabulary is read from it ({brief(error)}); table.tokens=FILE gives one"
                ) from error
    return {}


def _json(path: Path) -> Any:
    return parsed(path.read_bytes())


def _tokenizer(path: Path) -> Ids:
    """The vocabulary of Hugging Face's `tokenizer.json`: of pieces in the order of ids, or with the id of each."""
    found = _json(path)
    model = found["model"]["vocab"]
    ids = {id: piece for id, (piece, _) in enumerate(model)} if isinstance(model, list) else _turned(model)
    return ids | {added["id"]: added["content"] for added in found.get("added_tokens") or ()}


def _vocabulary(path: Path) -> Ids:
    """The ids of `vocab.json`, with those of `added_tokens.json` beside it."""
    added = path.with_name("added_tokens.json")
    return _turned(_json(path)) | (_turned(_json(added)) if added.is_file() else {})


def _turned(ids: dict[str, int]) -> Ids:
    return {id: token for token, id in ids.items()}


def _lines(path: Path) -> Ids:
    """The lines of BERT's `vocab.txt`."""
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    return dict(enumerate(decode(line.removesuffix(b"\r")) for line in lines))


def _sentencepiece(path: Path) -> Ids:
    try:
        library = import_module("sentencepiece")
    except ImportError as error:
        raise ValueError("the package sentencepiece reads it: pip install 'eigenselect[sentencepiece]'") from error
    try:
        pieces = library.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:  # what is not such a model, one of tiktoken for example
        raise ValueError(brief(error)) from error
    return {id: pieces.id_to_piece(id) for id in range(pieces.get_piece_size())}


FILES: dict[str, Callable[[Path], Ids]] = {
    "tokenizer.json": _tokenizer,
    "vocab.json": _vocabulary,
    "vocab.txt": _lines,
    **dict.fromkeys(("sentencepiece.bpe.model", "spiece.model", "tokenizer.model"), _sentencepiece),
}
"""The files that hold a vocabulary, the one that says most first."""


def with_tokens(found: Found, ids: Ids, wanted: str | None) -> Found:
    """A table with the tokens of its rows; a row without one is padding, as at the end of those of language models.

    Args:
        found: the table.
        ids: the token of each id, if any are known.
        wanted: the name or pattern by which the table was asked for: it may be another than that of the tokens.
    """
    n = len(found.numbers)
    if not ids or (wanted is not None and n < len(ids)):
        return found
    padding, remarks = padding_names(ids.values()), [*found.remarks]
    tokens = [ids[row] if row in ids else next(padding) for row in range(n)]
    if bare := sum(row not in ids for row in range(n)):
        remarks.append(f"{bare:,} rows have no token in the tokenizer: they are padding, <padding 0> and on.")
    if more := sum(id >= n for id in ids):
        remarks.append(f"{more:,} tokens of the tokenizer have no row.")
    return Found(found.numbers, tokens, remarks)
