"""Embedding tables from files, one reader per format."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Literal

import numpy as np

from eigenselect.compressors.data.table import EmbeddingTable, Floats
from eigenselect.selector.sources import glove, npy, onnx, safetensors, word2vec_binary, word2vec_text
from eigenselect.selector.sources.counts import Counts, counts_of_rows, read_counts
from eigenselect.selector.sources.detect import format_of, head_of, not_rows_of_text
from eigenselect.selector.sources.foreign import check_list, table_refusal
from eigenselect.selector.sources.rows import duplicates_message, repeated, rows_of, without_rows
from eigenselect.selector.sources.stream import Progress
from eigenselect.selector.sources.tokens import read_tokens

__all__ = ["FORMATS", "format_of_file", "read_table"]

Read = Callable[[Path, str | None, Progress | None], tuple[Floats, Sequence[str] | None]]

FORMATS: dict[str, Read] = {
    "npy": lambda path, tensor, progress: (npy.read(path), None),
    "glove": lambda path, tensor, progress: glove.read(path, progress),
    "word2vec-text": lambda path, tensor, progress: word2vec_text.read(path, progress),
    "word2vec-binary": lambda path, tensor, progress: word2vec_binary.read(path, progress),
    "safetensors": lambda path, tensor, progress: (safetensors.read(path, tensor), None),
    "onnx": lambda path, tensor, progress: (onnx.read(path, tensor), None),
}
"""(path, tensor, progress) -> (vectors, tokens or None), by format name."""

MAPPED = ("npy", "safetensors", "onnx")
"""Formats that are memory-mapped and hold no tokens."""

TEXT = ("glove", "word2vec-text")
"""Formats that are read from any packing."""

NAMED = ("safetensors", "onnx")
"""Formats whose tensors have names."""


def read_table(
    path: str | Path,
    *,
    format: str | None = None,
    tokens: str | Path | None = None,
    tensor: str | None = None,
    padding: Literal["refuse", "keep"] = "refuse",
    duplicates: Literal["error", "first"] = "error",
    keep: str | Path | None = None,
    counts: str | Path | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> EmbeddingTable:
    """Read an embedding table.

    `.npy` and safetensors tables, and those in data files of ONNX models, are memory-mapped. Text and word2vec binary
    tables, which may be gzipped and where they are text in bz2 or xz too, are streamed into memory, at a constant
    number of blocks above the table itself.

    Args:
        path: the file.
        format: a key of `FORMATS`; None finds it from the content, then the extension.
        tokens: a .txt or .parquet token list, in row order, for a format that holds none.
        tensor: name of the tensor of a safetensors file; None takes the only 2-D float tensor. Of an ONNX model, the
            name of a stored table; None takes the only one that ids of its input look up.
        padding: what to do with rows after the last token of `tokens`, as the tables of language models have: refuse,
            or keep them, with the tokens `<padding 0>`, `<padding 1>`, ...
        duplicates: what to do when a token occurs twice: refuse, or keep each token's first row.
        keep: a .txt or .parquet token list: only the rows of its tokens are taken, in its order.
        counts: how often each token occurs, one number a line for each row of the file, or a token and its number
            a line in any order; a token that it lacks has count 0.
        sha256: the digest that the file must have, in hexadecimal.
        progress: called with (bytes done, bytes in total) after each block of a streamed format; both are
            bytes of the file, packed ones where it is packed.

    Returns:
        The (n, d) table, float32 or float16, with its tokens where the file or `tokens` has them, its counts where
        they are given, and the rows of the file that it was taken from where `keep` is.

    Raises:
        ValueError: a file that cannot be read as a valid table. The message is one line with the value, the
            limit and the cure, and the line or row where there is one.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: the formats are {', '.join(FORMATS)}")
    if duplicates not in ("error", "first"):
        raise ValueError(f"duplicates is {duplicates!r}: it must be error or first")
    if padding not in ("refuse", "keep"):
        raise ValueError(f"padding is {padding!r}: it must be refuse or keep")
    path = _checked_file(path)
    try:
        if sha256 is not None:
            _check_digest(path, sha256)
        name = format_of_file(path, format)
        if tensor is not None and name not in NAMED:
            raise ValueError(
                f"{path}: tensor {tensor!r} is given for format {name}: only {' and '.join(NAMED)} name tensors"
            )
        if tokens is not None and name not in MAPPED:
            raise ValueError(f"{path}: a token list is given for format {name}, which holds its own tokens: drop it")
        kept = None if keep is None else read_tokens(_checked_list(keep))
        frequencies = None if counts is None else read_counts(_checked_list(counts))
        vectors, words = FORMATS[name](path, tensor, progress)
        if tokens is not None:
            words = read_tokens(_checked_list(tokens))
    except OSError as error:
        raise ValueError(
            f"{error.filename or path}: {error.strerror or error}: check the file and its permissions"
        ) from error
    try:
        if words is not None and vectors.ndim == 2 and len(words) != len(vectors):
            words = _padded(words, len(vectors), padding)
        return _table(vectors, words, frequencies, kept, duplicates)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _table(
    vectors: Floats,
    words: Sequence[str] | None,
    frequencies: Counts | None,
    kept: Sequence[str] | None,
    duplicates: Literal["error", "first"],
) -> EmbeddingTable:
    """The table of the rows that are asked for, with all that belongs to each."""
    if vectors.ndim != 2:
        return EmbeddingTable(vectors)  # which refuses it
    counts = None if frequencies is None else counts_of_rows(frequencies, len(vectors), words)
    pairs = repeated(words or ())
    if words is not None and pairs and duplicates == "error":
        cure = "pass table.duplicates=first to keep each token's first row"
        raise ValueError(duplicates_message(words, pairs, cure))
    if kept is not None:
        rows = rows_of(kept, words)
        counts = None if counts is None else counts[rows]
        return EmbeddingTable(vectors[rows], kept, counts, source_rows=rows, source_n=len(vectors))
    if words is not None and pairs:
        gone = {row for _, row in pairs}
        vectors = without_rows(vectors, sorted(gone))
        words = [token for row, token in enumerate(words) if row not in gone]
        counts = None if counts is None else np.delete(counts, list(gone))
    return EmbeddingTable(vectors, words, counts)


def _padded(tokens: Sequence[str], n: int, padding: Literal["refuse", "keep"]) -> list[str]:
    """The n tokens of a table whose list has another number of them.

    Raises:
        ValueError: there are more than n, or fewer and `padding` is not kept.
    """
    given = f"{len(tokens)} tokens for a table of {n} rows: one token a row is needed"
    if len(tokens) > n:
        raise ValueError(f"{given}; give the list of this very table, or drop the {len(tokens) - n} without a row")
    if padding == "refuse":
        raise ValueError(f"{given}; if the last {n - len(tokens)} rows are padding, table.padding=keep keeps them")
    taken = set(tokens)
    names = (name for i in count() if (name := f"<padding {i}>") not in taken)
    return [*tokens, *islice(names, n - len(tokens))]


def _checked_list(given: str | Path) -> Path:
    path = _checked_file(given)
    check_list(path)
    return path


def _checked_file(given: str | Path) -> Path:
    path = Path(given)
    if not path.exists():
        raise ValueError(f"{path}: no such file: correct the path")
    if path.is_dir():
        raise ValueError(f"{path}: a directory: give the table file in it")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: empty, 0 bytes: fetch or write it again")
    return path


def _check_digest(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected.lower():
        raise ValueError(f"{path}: SHA-256 is {digest}, {expected} is expected: fetch the file again or correct it")


def format_of_file(path: Path, given: str | None = None) -> str:
    """Name of the format of a file, unless it is `given`.

    Raises:
        ValueError: no format that is read.
    """
    head, packing = head_of(path)
    if reason := table_refusal(path, head):
        raise ValueError(f"{path}: {reason}")
    name = given or format_of(path, head)
    if name not in MAPPED and (reason := not_rows_of_text(head, given)):
        raise ValueError(f"{path}: {reason}")
    if name is None:
        raise ValueError(
            f"{path}: unknown format: give it as table.format, one of {', '.join(FORMATS)}; "
            "a row of text is a token and its numbers, with one space or tab between them"
        )
    if packing and name not in TEXT and (packing.name != "gzip" or name in MAPPED):
        raise ValueError(f"{path}: a {name} file is not read from {packing.name}: unpack it with {packing.tool}")
    return name
