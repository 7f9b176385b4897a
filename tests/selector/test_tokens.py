"""Files of tokens: what is written is read back as it was, and a user's own list is taken as it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from eigenselect.selector.sources import read_table
from eigenselect.selector.sources.counts import read_counts
from eigenselect.selector.sources.tokens import MARK, read_tokens, token_of, write_id_map, write_tokens
from tests.selector.test_sources import refused, small, write

ODD = [
    "",
    " ",
    " the ",
    "\t",
    "a\nb",
    "\n",
    "\r\n",
    "\r",
    "a\0b",
    "\x85",
    "\u2028",
    "\ufeffa",
    "\\n",
    '"\\n"',
    "\\",
    '""',
]
ODD += [MARK, '!json "a"', "!json", "\udc80", "\ud83dx\ude00", "\x0b\x0c\x1c\x1d\x1e", "é", "😀", "\xff", "\\xff"]
"""Tokens of which some reader of lines would make something else."""

ANY = st.text(st.characters() | st.sampled_from('\n\r\0\x85\u2028\ufeff\ud83d\udc80\\" !'), max_size=6)
TOKENS = ANY.filter(lambda token: json.loads(json.dumps(token)) == token) | st.sampled_from(ODD)

reads_files = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@reads_files
@given(tokens=st.lists(TOKENS, min_size=1))
def test_tokens_are_read_back_and_line_i_is_id_i(tokens: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    write_tokens(path, tokens)
    assert read_tokens(path) == tokens
    lines = path.read_text(encoding="utf-8").split("\n")
    assert len(lines) == len(tokens) + 1 and lines[-1] == ""
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(tokens)
    assert [token_of(line) for line in lines[:-1]] == tokens


def test_ordinary_tokens_are_their_lines(tmp_path: Path) -> None:
    ordinary = [
        "king",
        " the",
        "the ",
        "\\n",
        '"\\n"',
        '""',
        "\\",
        "",
        "a\tb",
        "!json",
        "Ġthe",
        "é",
        "\u200b",
        "#",
        "a,b",
    ]
    write_tokens(tmp_path / "tokens.txt", ["x\ny", *ordinary])
    assert (tmp_path / "tokens.txt").read_bytes() == "\n".join(['!json "x\\ny"', *ordinary, ""]).encode()
    assert (tmp_path / "tokens.txt").read_text(encoding="utf-8").split("\n").index("king") == 1


def test_the_halves_of_one_character_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^token '\\ud83d\\ude00' holds two surrogates that are one character"):
        write_tokens(tmp_path / "tokens.txt", ["\ud83d\ude00"])


def test_a_line_that_is_marked_must_hold_a_json_string(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text('a\n!json "b\n', encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"tokens\.txt, line 2: '!json \"b' is not a JSON string after !json \(.*\): corr"
    ):
        read_tokens(path)
    path.write_text('a 1\n!json "b" c 1\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokens\.txt, line 2: .* is not a JSON string after !json \(Extra data"):
        read_counts(path)
    path.write_text('a 1\n!json "b\\n" 2\n', encoding="utf-8")
    assert read_counts(path) == {"a": 1, "b\n": 2}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_lists_of_other_encodings_are_refused(encoding: str, tmp_path: Path) -> None:
    table = write(tmp_path / "t.npy", "npy", small()[0], [])
    for words in (["a", "b", "c", "d", "e", "f"], ["水", "火", "木", "金", "土", "日"]):
        (tmp_path / "tokens.txt").write_bytes("\n".join(words).encode(encoding))
        for setting in ("tokens", "keep", "counts"):
            with pytest.raises(ValueError, match=r"tokens\.txt: it is not UTF-8 but holds NUL bytes .*iconv"):
                read_table(table, **{setting: tmp_path / "tokens.txt"})  # type: ignore[arg-type]
    (tmp_path / "tokens.txt").write_bytes("水".encode("utf-16"))
    with pytest.raises(ValueError, match="it is not UTF-8"):
        read_tokens(tmp_path / "tokens.txt")


# The map of ids


def test_the_id_map_is_csv_as_in_rfc_4180(tmp_path: Path) -> None:
    tokens = ["plain", 'a,"b"', "é", "", " x ", "a\rb", "\udc80"]
    write_id_map(tmp_path / "id_map.csv", np.array([5, 0, 9, 1, 2, 2**40, 3]), tokens)
    expected = 'id,source_id,token|0,5,plain|1,0,"a,""b"""|2,9,é|3,1,|4,2, x |5,1099511627776,"a\rb"|'
    expected += '6,3,"!json ""\\udc80"""|'
    assert (tmp_path / "id_map.csv").read_bytes() == expected.replace("|", "\r\n").encode()


@reads_files
@given(tokens=st.lists(TOKENS))
def test_the_id_map_reads_back(tokens: list[str], tmp_path: Path) -> None:
    source = np.arange(len(tokens))[::-1] + 7
    write_id_map(tmp_path / "id_map.csv", source, tokens)
    with (tmp_path / "id_map.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["id", "source_id", "token"]
    assert [(*row[:2], token_of(row[2])) for row in rows] == [(str(i), str(source[i]), t) for i, t in enumerate(tokens)]


# Lists of users


def test_token_lists(tmp_path: Path) -> None:
    vectors, _ = small()
    path = write(tmp_path / "t.npy", "npy", vectors, [])
    words = ["a", "b\u0085c", "d\u2028e", " f ", "\\n", '"\\u000a"']
    text = tmp_path / "tokens.txt"
    for content in ("\n".join(words) + "\n", "\r\n".join(words) + "\r\n", "\ufeff" + "\n".join(words) + "\n"):
        text.write_bytes(content.encode())
        assert read_table(path, tokens=text).tokens == words
    column = tmp_path / "tokens.parquet"
    number = pa.array(range(6))
    for table in (
        {"anything": words, "row": number},
        {"other": words[::-1], "word": words},
        {"row": number, "w": pa.array(words).dictionary_encode()},
        {"row": number, "w": pa.array(words, pa.large_string())},
    ):
        parquet.write_table(pa.table(table), column)
        assert read_table(path, tokens=column).tokens == words


def test_rows_without_tokens_at_the_end_are_padding(tmp_path: Path) -> None:
    vectors, _ = small()
    path = write(tmp_path / "t.npy", "npy", vectors, [])
    text, counts = tmp_path / "tokens.txt", tmp_path / "counts.txt"
    text.write_text("a\n<padding 1>\nb\n")
    refused(path, "3 tokens for a table of 6 rows", "the last 3 rows are padding, table.padding=keep", tokens=text)
    counts.write_text("b 2\n")
    read = read_table(path, tokens=text, counts=counts, padding="keep")
    assert read.tokens == ["a", "<padding 1>", "b", "<padding 0>", "<padding 2>", "<padding 3>"]
    assert read.counts is not None and read.counts.tolist() == [0, 0, 2, 0, 0, 0]
    np.testing.assert_array_equal(read.vectors, vectors)
    text.write_text("".join(f"{i}\n" for i in range(8)))
    for padding in ("refuse", "keep"):
        refused(path, "8 tokens for a table of 6 rows", "drop the 2 without a row", tokens=text, padding=padding)
    with pytest.raises(ValueError, match="padding is 'drop': it must be refuse or keep"):
        read_table(path, padding="drop")  # type: ignore[arg-type]


def test_bad_token_lists(tmp_path: Path) -> None:
    vectors, _ = small()
    path = write(tmp_path / "t.npy", "npy", vectors, [])
    text, column = tmp_path / "tokens.txt", tmp_path / "tokens.parquet"
    text.write_text("a\na\n")
    refused(path, "2 tokens for a table of 6 rows", tokens=text)
    with pytest.raises(ValueError, match="no such file"):
        read_table(path, tokens=tmp_path / "none.txt")
    with pytest.raises(ValueError, match=r"\.txt file with one token a line, or a \.parquet"):
        read_table(path, tokens=path)
    for table, message in (
        ({"a": ["x"] * 6, "b": ["y"] * 6}, "2 columns could hold the tokens.*'a' string, 'b' string"),
        ({"token": ["x"] * 6, "word": ["y"] * 6}, "2 columns could"),
        ({"a": [1] * 6}, "no columns could hold the tokens.*'a' int64"),
        ({"a": ["x", None, "y", "z", "u", "v"]}, "no token at row 1 of column 'a'"),
    ):
        parquet.write_table(pa.table(table), column)
        with pytest.raises(ValueError, match=message):
            read_table(path, tokens=column)
    column.write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="not a whole parquet file"):
        read_table(path, tokens=column)
    glove = write(tmp_path / "g.txt", "glove", *small())
    refused(glove, "holds its own tokens", tokens=text)
