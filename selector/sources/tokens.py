r"""Files of tokens: the token list beside a table, and `tokens.txt` and `id_map.csv` of a hand-over.

A line of a `.txt` list is a token as it is, whatever quotes, backslashes or spaces it holds. A token that would not
come back from a line is written as `!json` and its JSON string instead: `!json "a\nb"`. Such are the tokens that hold a
line break of any kind (U+000A to U+000D, U+001C to U+001E, U+0085, U+2028, U+2029), NUL, a byte order mark or half of a
surrogate pair, and those that begin like such a line themselves. So line i, from 0, is id i for every reader of lines,
and `json.loads(line[6:])` is the token of a marked one.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from eigenselect.compressors.documents import parsed
from eigenselect.compressors.words import LEAST, NAME, brief, listed, quoted
from eigenselect.selector.sources.fields import check_utf8, decode
from eigenselect.selector.sources.stored_tokens import Gathered, gathered
from eigenselect.selector.sources.stream import BOM

COLUMNS = ("token", "word", "index")

MARK = '!json "'
"""What the line of a token begins with that is written as a JSON string."""

NOT_UTF8 = "\ud800-\udfff"
NOT_IN_A_LINE = re.compile(f"[\0\n-\r\x1c-\x1e\x85\u2028\u2029\ufeff{NOT_UTF8}]")
NOT_IN_A_CELL = re.compile(f"^[=+\\-@\\t\\r]|[{NOT_UTF8}]")
"""In a cell: what a spreadsheet takes for a formula as well."""


def token_of(line: str) -> str:
    r"""The token that a line without its end stands for.

    Raises:
        ValueError: a marked line that holds no JSON string.

    >>> token_of("\\n"), token_of('!json "\\n"')
    ('\\n', '\n')
    """
    if not line.startswith(MARK):
        return line
    try:
        return str(parsed(line.removeprefix("!json ")))
    except ValueError as error:
        raise ValueError(f"{line[:40]!r} is not a JSON string after !json ({error}): correct it") from error


def _marked(token: str, unsafe: re.Pattern[str]) -> str:
    """The token, marked where it holds any of `unsafe`; what `token_of` reads back."""
    if not token.startswith(MARK) and not unsafe.search(token):
        return token
    written = json.dumps(token)
    if json.loads(written) != token:
        raise ValueError(
            f"token {quoted(token)} holds two surrogates that are one character when they are written: put that one"
        )
    return f"!json {written}"


def write_tokens(path: Path, tokens: Sequence[str]) -> None:
    """Write tokens as `read_tokens` reads them: a line each, UTF-8.

    Raises:
        ValueError: a token that holds the two halves of a surrogate pair, which no file keeps apart.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{_marked(token, NOT_IN_A_LINE)}\n" for token in tokens)


def write_id_map(path: Path, source_rows: npt.NDArray[np.int64], tokens: Sequence[str]) -> None:
    """Where each row of a pruned table was in its file, as CSV: the new id, the (n,) old one, the token.

    CSV quotes line breaks itself. A token that UTF-8 cannot hold is marked as in `tokens.txt`, and so is one that a
    spreadsheet would take for a formula: those that begin with one of = + - @, a tab or a carriage return.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "source_id", "token"])
        cells = (_marked(token, NOT_IN_A_CELL) for token in tokens)
        writer.writerows(zip(range(len(tokens)), source_rows.tolist(), cells, strict=True))


def read_id_map(path: Path) -> tuple[npt.NDArray[np.int64], list[str]]:
    """What `write_id_map` wrote: the (n,) rows of the file, and the tokens.

    Raises:
        ValueError: not such a file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
        rows = np.array([int(line["source_id"]) for line in lines], np.int64)
        tokens = [token_of(line["token"]) for line in lines]
        if not rows.size or rows.min() < 0 or [line["id"] for line in lines] != [str(row) for row in range(len(rows))]:
            raise ValueError("ids must be 0, 1, ... and rows at least 0")
    except (AttributeError, KeyError, TypeError, OverflowError, csv.Error, ValueError) as error:
        raise ValueError(
            f"{path} is no id map of a hand-over ({brief(error)}): give the folder as it was written"
        ) from error
    return rows, tokens


def read_tokens(path: Path) -> Sequence[str]:
    r"""Read one token for each row of a table, in row order; where they are many they stay in a file (`gathered`).

    Args:
        path: a `.txt` file, UTF-8, one token a line as the module says (only `\n` and `\r\n` end a line; a byte that
            is not UTF-8 appears as `\xNN`); or a `.parquet` file: its only string column, or the one named token,
            word or index.

    Raises:
        ValueError: another kind of file, not a parquet file, no one column to take, a null token, a marked line
            without a JSON string, or text in UTF-16 or UTF-32.
    """
    if path.suffix == ".txt":
        with path.open("rb") as file:
            return gathered(_lines(path, file))
    if path.suffix == ".parquet":
        return _column(path)
    raise ValueError(f"{path}: a token list is a .txt file with one token a line, or a .parquet file")


def _lines(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        check_utf8(path, line, first=number == 1)
        if number == 1:
            line = line.removeprefix(BOM)
            if not line:  # a mark and nothing else
                return
        token = decode(line.removesuffix(b"\n").removesuffix(b"\r"))
        try:
            yield token_of(token)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error


def _column(path: Path) -> Sequence[str]:
    try:
        schema = parquet.read_schema(path)
        chosen = token_columns(schema)
        if len(chosen) != 1:
            columns = listed([f"{quoted(f.name)} {brief(str(f.type), NAME)}" for f in schema], LEAST, ", ")
            raise ValueError(
                f"{path}: {len(chosen) or 'no'} columns could hold the tokens; keep one string "
                f"column, or name one of them token, word or index; columns: {columns}"
            )
        with parquet.ParquetFile(path) as file, Gathered() as tokens:
            for batch in file.iter_batches(columns=chosen):
                some = batch.column(0).to_pylist()
                if None in some:
                    row = len(tokens) + some.index(None)
                    raise ValueError(f"{path}: no token at row {row} of column {chosen[0]!r}: fill it in")
                tokens.add(some)
            return tokens.done()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path}: not a whole parquet file ({brief(error)}): write it again") from error


def token_columns(schema: pa.Schema) -> list[str]:
    """The columns that could hold tokens: the only one of strings, or those of several that are named so."""
    strings = [field.name for field in schema if _is_string(field.type)]
    return strings if len(strings) == 1 else [name for name in COLUMNS if name in strings] or strings


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
