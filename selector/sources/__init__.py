"""Embedding tables from files, one reader per format."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np

from eigenselect.compressors.data.stored import Floats, StoredRows
from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.compressors.words import NAME, brief, listed, shortened
from eigenselect.selector.sources import folder
from eigenselect.selector.sources.counts import Counts, counts_of_rows, read_counts
from eigenselect.selector.sources.detect import format_named, format_of, head_of, not_rows_of_text
from eigenselect.selector.sources.foreign import check_list, table_refusal
from eigenselect.selector.sources.format import Found, Request
from eigenselect.selector.sources.formats import FORMATS
from eigenselect.selector.sources.numbers import floats
from eigenselect.selector.sources.pipe import as_file, is_pipe
from eigenselect.selector.sources.rows import duplicates_message, padded, repeated, rows_of, without, without_rows
from eigenselect.selector.sources.shards import joined, shards_of
from eigenselect.selector.sources.stream import Progress
from eigenselect.selector.sources.tensors import shapes, table_of
from eigenselect.selector.sources.tokens import read_tokens

PATH = 200
"""Characters of a path that a message has, since a file may have named it."""

NAMED = 150
"""Characters of the tables of a file that a message names."""

__all__ = ["FORMATS", "format_of_file", "read_table", "tables_in"]


def read_table(
    path: str | Path,
    *,
    format: str | None = None,
    tokens: str | Path | None = None,
    tensor: str | None = None,
    dtype: Literal["float32", "float16"] | None = None,
    dimension: int | None = None,
    rows: int | None = None,
    padding: Literal["refuse", "keep"] = "refuse",
    duplicates: Literal["error", "first"] = "error",
    keep: str | Path | None = None,
    counts: str | Path | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> EmbeddingTable:
    """Read an embedding table.

    What can be is memory-mapped, and numbers of other types are made floats a block at a time, each time that they are
    read. Text and word2vec binary tables, plain or packed, are streamed into memory, at a constant number of blocks
    above the table itself.

    Args:
        path: the file, or a model folder; or several files as one table: a pattern (`shards/*.npy`), or a folder of
            .npy or .parquet files alone. Their rows follow each other in the order of the files' names.
        format: a key of `FORMATS`; None finds it from the content, then the extension.
        tokens: a .txt or .parquet token list, in row order, for a format that holds none.
        tensor: name of the tensor that is the table, or a pattern (`*ngram*`) that fits its name alone. None takes the
            only 2-D float tensor, or the one that is named as input embeddings are. Of an ONNX model, the name of a
            stored table; None takes the only one that ids of its input look up.
        dtype: what other numbers than float32 and float16 are rounded to. bfloat16 and float8 need none: float32 holds
            them exactly.
        dimension: values of a row of GloVe text; None takes that of the first lines.
        rows: how many are read, the first ones; None is all. Of a table whose rows are sorted, the most frequent.
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
    for name, value, choices in (
        ("dtype", dtype or "float32", ("float32", "float16")),
        ("duplicates", duplicates, ("error", "first")),
        ("padding", padding, ("refuse", "keep")),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}: it must be {' or '.join(choices)}")
    for name, number in (("dimension", dimension), ("rows", rows)):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}: it must be at least 1")
    path = Path(path)
    files = shards_of(path)
    path = path if files else _checked(path)
    if sha256 is not None and files:
        raise ValueError(f"{path}: sha256 is given for {len(files)} files: drop it, or give one file")

    def found_in(file: Path) -> Found:
        return _found(Request(file, tensor, rows, dimension, progress), format, sha256, tokens is not None)

    try:
        kept = None if keep is None else read_tokens(_checked_list(keep))
        frequencies = None if counts is None else read_counts(_checked_list(counts))
        if files:
            found = joined(files, found_in)
        else:
            with as_file(path) as file:
                found = found_in(file)
                if file != path:  # it is gone in a moment
                    found = replace(found, numbers=np.array(found.numbers))
        words = found.tokens if tokens is None else read_tokens(_checked_list(tokens))
    except OSError as error:
        cure = "" if error.errno == errno.ENOSPC else ": check the file and its permissions"  # it says so itself
        named = shortened(str(error.filename or path), PATH)
        raise ValueError(f"{named}: {error.strerror or error}{cure}") from error
    try:
        vectors = floats(found.numbers, dtype)
        if vectors.ndim == 2 and words is not None and len(words) != len(vectors):
            words = padded(words, len(vectors), padding)
        if rows is not None:
            vectors = vectors.only(slice(rows)) if isinstance(vectors, StoredRows) else vectors[:rows]
            words = None if words is None else words[:rows]
            frequencies = frequencies[:rows] if isinstance(frequencies, np.ndarray) else frequencies
        return _table(vectors, words, frequencies, kept, duplicates, found.remarks)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def tables_in(path: str | Path, pattern: str, format: str | None = None) -> dict[str, tuple[int, int]]:
    """Rows and columns of the tensors of a file or model folder that fit a pattern and can be tables, by name.

    Args:
        path: the file or folder.
        pattern: `*emb*` for example.
        format: as for `read_table`.

    Raises:
        ValueError: it cannot be read, or names no tensors; none fits.
    """
    path = _checked(path)
    if folder.holds(path):
        found = shapes(folder.tensors(path))
    else:
        reader = FORMATS[format_of_file(path, format)]
        if reader.tables is not None:
            found = {**reader.tables(path)}
        elif reader.tensors is not None:
            found = shapes(reader.tensors(path))
        else:
            raise ValueError(f"{path}: a {reader.name} file holds one table: leave tensor = {pattern!r} out")
    if fitting := {name: shape for name, shape in found.items() if fnmatchcase(name, pattern)}:
        return fitting
    names = [brief(name, NAME) for name in found]
    raise ValueError(f"{path}: no table fits {pattern!r}; there are {listed(names, NAMED, ', ') or 'none'}")


def _found(request: Request, format: str | None, sha256: str | None, listed: bool) -> Found:
    """What the reader of a file or folder gives; `listed` says that a list of tokens is given."""
    path = request.path
    if folder.holds(path):
        if sha256 is not None:
            raise ValueError(f"{path}: sha256 is given for a model folder: drop it, or give the file of the table")
        return folder.read(request)
    if sha256 is not None:
        _check_digest(path, sha256)
    reader = FORMATS[format_of_file(path, format)]
    if request.tensor is not None and not reader.named:
        names = ", ".join(name for name, each in FORMATS.items() if each.named)
        raise ValueError(
            f"{path}: tensor {request.tensor!r} is given for format {reader.name}: only {names} name tensors"
        )
    if listed and reader.own_tokens:
        raise ValueError(f"{path}: a token list is given for format {reader.name}, which holds its own tokens: drop it")
    if reader.read is not None:
        return reader.read(request)
    assert reader.tensors is not None, "a format has one or the other"
    return table_of(path, reader.tensors(path), request.tensor)


def _table(
    vectors: Floats | StoredRows,
    words: Sequence[str] | None,
    frequencies: Counts | None,
    kept: Sequence[str] | None,
    duplicates: Literal["error", "first"],
    remarks: Sequence[str],
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
        chosen = vectors.only(rows) if isinstance(vectors, StoredRows) else vectors[rows]
        return EmbeddingTable(chosen, kept, counts, source_rows=rows, source_n=len(vectors), remarks=remarks)
    if words is not None and pairs:
        gone = {row for _, row in pairs}
        vectors = without_rows(vectors, sorted(gone))
        words = without(words, gone)
        counts = None if counts is None else np.delete(counts, list(gone))
    return EmbeddingTable(vectors, words, counts, remarks=remarks)


def _checked_list(given: str | Path) -> Path:
    path = _checked(given)
    if path.is_dir() or is_pipe(path):
        raise ValueError(f"{path}: a directory or a pipe: give the file of the list")
    check_list(path)
    return path


def _checked(given: str | Path) -> Path:
    path = Path(given)
    if not path.exists():
        raise ValueError(f"{path}: no such file: correct the path")
    if not (path.is_file() or path.is_dir() or is_pipe(path)):
        raise ValueError(f"{path}: not a file, folder or pipe: pipe the table in, or give its file")
    if path.stat().st_size == 0 and path.is_file():
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
    found = format_of(path, head)
    if found is None and (reason := table_refusal(head, packing)):
        raise ValueError(f"{path}: {reason}")
    name = given or found or format_named(path)
    if (name is None or FORMATS[name].spaced) and (reason := not_rows_of_text(head, given)):
        raise ValueError(f"{path}: {reason}")
    if name is None:
        raise ValueError(
            f"{path}: unknown format: give it as table.format, one of {', '.join(FORMATS)}; "
            "a row of text is a token and its numbers, with one space or tab between them"
        )
    if packing and not FORMATS[name].packed:
        raise ValueError(f"{path}: a {name} file is not read from {packing.name}: unpack it with {packing.tool}")
    return name
