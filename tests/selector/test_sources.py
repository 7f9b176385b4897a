"""Readers: what is written is read back bit by bit, and what is wrong is named with its place and its cure."""

import gzip
import hashlib
import json
import mmap
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from eigenselect.selector.sources import FORMATS, detect, fields, read_table, stream
from eigenselect.selector.sources.formats import word2vec_binary
from eigenselect.selector.sources.tokens import write_tokens
from tests.selector.writers import WRITERS

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
data = pytest.mark.data

TEXT = ("glove", "word2vec-text")
STREAMED = (*TEXT, "word2vec-binary")
OWN = (*STREAMED, "csv", "fasttext")
"""Formats whose files hold a token a row."""
NAMES = {
    "npy": "table.npy",
    "glove": "table.txt",
    "word2vec-text": "table.vec",
    "word2vec-binary": "table.bin",
    "safetensors": "table.safetensors",
    "onnx": "table.onnx",
    **dict(npz="table.npz", torch="pytorch_model.bin", gguf="table.gguf", parquet="table.parquet"),
    **dict(arrow="table.arrow", csv="table.csv", fasttext="model.bin"),
}
PLAIN = [name for name in FORMATS if name not in ("csv", "fasttext")]
"""Formats that any token can be written in; in CSV a line of numbers has none, and in fastText a NUL ends it."""


def rows_of(vectors: np.ndarray, tokens: list[bytes], ending: bytes = b"\n", separator: bytes = b" ") -> bytes:
    """Text rows with the digits that give back each float32."""
    lines = (
        separator.join([token, *(np.format_float_scientific(x, unique=True).encode() for x in row)])
        for token, row in zip(tokens, vectors, strict=True)
    )
    return b"".join(line + ending for line in lines)


def write(path: Path, format: str, vectors: np.ndarray, tokens: list[bytes]) -> Path:
    header = b"%d %d\n" % vectors.shape
    if format == "npy":
        np.save(path, vectors)
    elif format == "glove":
        path.write_bytes(rows_of(vectors, tokens))
    elif format == "word2vec-text":
        path.write_bytes(header + rows_of(vectors, tokens))
    elif format == "word2vec-binary":
        pairs = zip(tokens, vectors.astype("<f4"), strict=True)
        path.write_bytes(header + b"".join(token + b" " + row.tobytes() + b"\n" for token, row in pairs))
    elif format in WRITERS:
        WRITERS[format](path, vectors, tokens)
    elif format == "onnx":
        ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])
        rows = helper.make_tensor_value_info("rows", helper.np_dtype_to_tensor_dtype(vectors.dtype), ["batch", "d"])
        lookup = helper.make_node("Gather", ["embedding", "ids"], ["rows"])
        graph = helper.make_graph([lookup], "g", [ids], [rows], [numpy_helper.from_array(vectors, "embedding")])
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    else:
        save_file({"embedding": np.ascontiguousarray(vectors)}, path)
    return path


def bits(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors).view(np.uint16 if vectors.dtype == np.float16 else np.uint32)


def small(n: int = 6, d: int = 3) -> tuple[np.ndarray, list[bytes]]:
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32), [b"tok%d" % i for i in range(n)]


def refused(path: Path, *parts: str, **options: object) -> None:
    """Reading raises a one-line ValueError that holds all `parts` and the path."""
    with pytest.raises(ValueError) as caught:
        read_table(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), *parts):
        assert part in message, message


def small_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", size)
    monkeypatch.setattr(fields, "CSV_BLOCK_BYTES", max(size, 8))


ODD = "é中\u00a0\u0085\u2028\u2029\u200b\ufeff\x0b\x0c\x00\x1c\x1e\"',;#\\|N/A1.-+e_\u3000😀"
TOKENS = st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda token: not set(token) & set(" \t\r\n")
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, list[str]]:
    d = draw(st.integers(1, 4))
    n = draw(st.integers(d, 9))
    entries = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
    vectors = draw(hnp.arrays(np.float32, (n, d), elements=entries))
    tokens = draw(st.lists(TOKENS, min_size=n, max_size=n, unique=True))
    # At the start of a text file these three bytes are the editor's mark, not the token's.
    if tokens[0].startswith("\ufeff"):
        tokens[0] = "x" * 9
    return vectors, tokens


def check_round_trip(table: tuple[np.ndarray, list[str]], format: str, zipped: bool, folder: Path) -> None:
    vectors, tokens = table
    path = write(folder / NAMES[format], format, vectors, [token.encode() for token in tokens])
    if zipped:
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    if zipped and format not in STREAMED:
        refused(path, "gunzip", format=format)
        return
    options = {}
    if format not in OWN:
        write_tokens(folder / "tokens.txt", tokens)
        options["tokens"] = folder / "tokens.txt"
    read = read_table(path, format=format, **options)
    np.testing.assert_array_equal(bits(read.vectors), bits(vectors))
    assert read.tokens == tokens


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("format", STREAMED)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_round_trip_of_what_is_streamed(table, format, zipped, block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    check_round_trip(table, format, zipped, tmp_path)


@pytest.mark.parametrize("format", [name for name in PLAIN if name not in STREAMED])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_round_trip(table, format, tmp_path):
    check_round_trip(table, format, False, tmp_path)
    check_round_trip(table, format, True, tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_is_found_from_the_content(format, tmp_path):
    vectors, tokens = small()
    path = write(tmp_path / NAMES[format], format, vectors, tokens).rename(tmp_path / "renamed.dat")
    np.testing.assert_array_equal(read_table(path).vectors, vectors)
    if format in (*STREAMED, "csv"):
        path.write_bytes(gzip.compress(path.read_bytes()))
        np.testing.assert_array_equal(read_table(path).vectors, vectors)


@pytest.mark.parametrize("format", TEXT)
@pytest.mark.parametrize("block", [5, 1 << 20])
@pytest.mark.parametrize("separator", [b" ", b"\t"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b" \n", b"\t\n", b"  \r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_endings_and_separators(format, block, separator, ending, mark, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    if separator == b"\t":
        ending = ending.replace(b" ", b"\t")
    vectors, tokens = small()
    header = b"6" + separator + b"3" + ending if format == "word2vec-text" else b""
    path = tmp_path / "table"
    for tail in (b"", ending, b"\n\n \n", b"\r\n"):
        path.write_bytes(mark + header + rows_of(vectors, tokens, ending, separator) + tail)
        read = read_table(path)
        np.testing.assert_array_equal(read.vectors, vectors)
        assert read.tokens == [token.decode() for token in tokens]
    # The last line may lack its newline.
    path.write_bytes(header + rows_of(vectors, tokens, b"\n", separator)[:-1])
    np.testing.assert_array_equal(read_table(path).vectors, vectors)


@pytest.mark.parametrize("format", TEXT)
@pytest.mark.parametrize("block", [5, 1 << 20])
@pytest.mark.parametrize("ending", [b"\n", b" \r\n"])
def test_a_tab_after_the_token_and_spaces_between_the_values(format, block, ending, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    vectors, tokens = small(6, 3)
    tokens[1:4] = [b"New York", b"route 66", b"a\tb"]
    rows = rows_of(vectors, [b"?"] * 6, ending).split(b"? ")[1:]
    path = tmp_path / "table.txt"
    header = b"6 3\n" if format == "word2vec-text" else b""
    for between in (b"\t", b"\t "):
        path.write_bytes(header + b"".join(t + between + row for t, row in zip(tokens, rows, strict=True)))
        read = read_table(path)
        np.testing.assert_array_equal(read.vectors, vectors)
        assert read.tokens == [token.decode() for token in tokens]
    for bad, found in (
        (b"tok4\t1 2", "2 values where 3 are expected"),
        (b"4 1 2", "0 values where 3 are expected"),
        (b"tok4\t1 2 3 4", "4 values where 3"),
        (b"tok4\t0\t1 2 3", "4 values where 3"),
        (b"tok4\t1 x 3", "value 2 of 3 is 'x', not a number"),
        (b"tok4\t1  2 3", "4 values where 3"),
        (b"tok4", "0 values where 3"),
    ):
        lines = [t + b"\t" + row for t, row in zip(tokens, rows, strict=True)]
        path.write_bytes(header + b"".join([*lines[:4], bad + b"\n", lines[5]]))
        refused(path, f"line {6 if header else 5}: ", found)


@pytest.mark.parametrize("separator", [b" ", b"\t", b"  "])
def test_numbers_without_tokens_lose_no_column(separator, tmp_path):
    vectors, _ = small(30, 4)
    path = tmp_path / "table.txt"
    rows = b"".join(separator.join(b"%.6e" % x for x in row) + b"\n" for row in vectors)
    path.write_bytes(rows)
    refused(path, "line 1, ", "has numbers and no token", "numpy.loadtxt", "table.format=glove")
    if separator != b"  ":
        assert read_table(path, format="glove").d == 3, "who says so has a number as token"
        path.write_bytes(b"30 4\n" + rows)
        refused(path, "line 2: 4 numbers and no token: ", "numpy.loadtxt")
    # Ids of nodes are tokens, and so is a number among words.
    path.write_bytes(b"".join(b"%d 0.5 %d\n" % (i, i) for i in range(9)))
    assert read_table(path).tokens == [str(i) for i in range(9)]
    path.write_bytes(b"0.5 1 2\nthe 3 4\n")
    assert read_table(path).tokens == ["0.5", "the"]


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("format", TEXT)
def test_text_of_other_encodings_is_refused_by_name(format, mark, encoding, tmp_path):
    vectors, tokens = small(30, 3)
    text = write(tmp_path / "table", format, vectors, tokens).read_text()
    path = tmp_path / "table.txt"
    for content in (text, text.replace("tok", "語")):
        path.write_bytes((mark + content).encode(encoding))
        for name in (None, format):
            refused(path, f"text in {encoding}: save it as UTF-8 (iconv -f {encoding} -t UTF-8)", format=name)
        path.write_bytes(gzip.compress(path.read_bytes()))
        refused(path, f"text in {encoding}")


@pytest.mark.parametrize("block", [5, 1 << 20])
@pytest.mark.parametrize("spaced", [0, 3])
def test_tokens_with_spaces_as_in_glove_840b(block, spaced, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    vectors, tokens = small()
    tokens[spaced], tokens[5] = b"at name@domain.com", b". . ."
    path = tmp_path / "glove.txt"
    path.write_bytes(rows_of(vectors, tokens))
    read = read_table(path)
    np.testing.assert_array_equal(read.vectors, vectors)
    assert read.tokens == [token.decode() for token in tokens]


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_odd_bytes_in_tokens_are_kept(block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    vectors, tokens = small()
    tokens[1:5] = [b"\xff\xfe", b"", b"a\rb", b"\xef\xbb\xbfmark"]
    for format in STREAMED:
        read = read_table(write(tmp_path / "table", format, vectors, tokens), format=format)
        assert read.tokens == ["tok0", "\\xff\\xfe", "", "a\rb", "\ufeffmark", "tok5"]
        np.testing.assert_array_equal(read.vectors, vectors)


def test_a_lone_carriage_return_ends_no_line(tmp_path):
    path = tmp_path / "table.txt"
    path.write_bytes(b"a 1 2\nb 3 4\rc 5 6\nd 7 8\n")
    read = read_table(path)
    assert read.tokens == ["a", "b 3 4\rc", "d"]
    np.testing.assert_array_equal(read.vectors, [[1, 2], [5, 6], [7, 8]])
    path.write_bytes(b"a 1\nb 1\r2\n")
    refused(path, "line 2: value 1 of 1 is '1\\r2', not a number")


def test_an_empty_line_may_be_a_block_of_its_own(tmp_path, monkeypatch):
    small_blocks(monkeypatch, 1)
    path = tmp_path / "table.vec"
    path.write_bytes(b"2 2\n\na 1 2\nb 3 4\n")
    refused(path, "line 2: an empty line", format="word2vec-text")


def test_arrow_slices_are_read_where_they_start():
    np.testing.assert_array_equal(fields.floats(pa.array([1, 2, 3], pa.float32()).slice(1)), [2, 3])


@pytest.mark.parametrize("block", [1, 100, 300, 1 << 20])
def test_line_numbers_count_on_over_blocks(block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    lines = ["t 1 2"] * 200
    path = tmp_path / "table.txt"
    for bad, found in (
        ("t 1 x", "'x', not a number"),
        ("t 1", "1 values where 2"),
        ("", "an empty line between"),
    ):
        for at in (20, 57, 198):
            path.write_text("\n".join([*lines[:at], bad, *lines[at:]]))
            refused(path, f"line {at + 1}: ", found, format="glove")


def test_binary_rows_without_newlines(tmp_path):
    vectors, tokens = small()
    body = b"".join(t + b" " + v.tobytes() for t, v in zip(tokens, vectors, strict=True))
    for tail in (b"", b"\n"):
        path = tmp_path / "table.bin"
        path.write_bytes(b"6 3\n" + body + tail)
        np.testing.assert_array_equal(read_table(path).vectors, vectors)


SPACED = [b"New York", b"a b c d", b"New Yor", b"New ", b" New", b" ", b"", "東京 都".encode(), b"a\nb c", b"NEW 1999"]
"""Tokens whose end is not their first space, and one that is empty."""


@pytest.mark.parametrize("block", [70, 1 << 20])
@pytest.mark.parametrize("newline", [b"\n", b""])
@pytest.mark.parametrize("token", SPACED)
def test_binary_tokens_may_hold_spaces(token, newline, block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    monkeypatch.setattr(word2vec_binary, "MAX_TOKEN_BYTES", 60)
    vectors, tokens = small(300, 16)
    path = tmp_path / "table.bin"
    for rows in ([5], [0], [299], [0, 1, 299], range(300)):
        named = [token + b"%d" % row if len(rows) > 3 else tokens[row] for row in range(300)]
        for row in rows[:3]:
            named[row] = token + b"%d" % row if len(rows) > 1 else token
        body = b"".join(t + b" " + v.tobytes() + newline for t, v in zip(named, vectors, strict=True))
        for tail in (b"", b"\n")[: 1 + (not newline)]:
            path.write_bytes(b"300 16\n" + body + tail)
            read = read_table(path)
            assert read.tokens == [t.decode() for t in named]
            np.testing.assert_array_equal(read.vectors, vectors)


@pytest.mark.parametrize("newline", [b"\n", b""])
@pytest.mark.parametrize("token", [b"a \x01b", b"caf\xe9 bar", b"New \xffork", b"\xff\xfe"])
def test_binary_tokens_that_are_not_text_are_read_or_refused(token, newline, tmp_path):
    vectors, tokens = small(300, 16)
    path = tmp_path / "table.bin"
    for row in (0, 5, 299):
        named = [token if i == row else name for i, name in enumerate(tokens)]
        body = b"".join(t + b" " + v.tobytes() + newline for t, v in zip(named, vectors, strict=True))
        path.write_bytes(b"300 16\n" + body)
        if newline and token != b"a \x01b":
            read = read_table(path)
            assert read.tokens[row] == token.decode(errors="backslashreplace")
            np.testing.assert_array_equal(read.vectors, vectors)
        else:
            refused(path, "" if row == 299 else "are not a row as the others are", "header")
            with pytest.raises(ValueError, match=rf"row {row}|row {row + 1}|bytes after the last"):
                read_table(path)


def test_a_binary_row_of_many_scales_is_read_where_newlines_show_it(tmp_path):
    """Values that span a hundred powers of two, after a token that could go on: its first float begins with a space."""
    vectors, tokens = small(300, 16)
    vectors[5] *= np.logspace(-10, 20, 16, dtype=np.float32)
    vectors[5].view(np.uint32)[0] = vectors[5].view(np.uint32)[0] & 0xFFFFFF00 | 0x20
    for newline in (b"\n", b""):
        body = b"".join(t + b" " + v.tobytes() + newline for t, v in zip(tokens, vectors, strict=True))
        (tmp_path / "table.bin").write_bytes(b"300 16\n" + body)
        if newline:
            np.testing.assert_array_equal(read_table(tmp_path / "table.bin").vectors, vectors)
        else:
            refused(tmp_path / "table.bin", "row 5: 'tok5 ' and 16 values are not a row as the others are")


@pytest.mark.parametrize("block", [7, 1 << 20])
@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"tok4 1 2", "2 values where 3 are expected"),
        (b"tok4", "0 values where 3 are expected"),
        (b"tok4 1 two 3", "value 2 of 3 is 'two', not a number"),
        (b"tok4 1  3", "value 2 of 3 is '', not a number"),
        (b"tok4 1 0x2 3", "value 2 of 3 is '0x2', not a number"),
        (b"tok4 1 2,0 3", "value 2 of 3 is '2,0', not a number"),
        (b"tok4 \xef\xbb\xbf1 2 3", "value 1 of 3 is '\ufeff1', not a number"),
        (b"tok4 1 2\r2 3", "value 2 of 3 is '2\\r2', not a number"),
        (b"tok4 1 2 " + b"x" * 99, "value 3 of 3 is '" + "x" * 40 + "'..., not a number"),
        (b"", "an empty line between rows"),
    ],
)
@pytest.mark.parametrize("format", TEXT)
def test_a_bad_line_is_named(format, line, found, block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    vectors, tokens = small()
    lines = rows_of(vectors, tokens).split(b"\n")
    lines[4] = line
    header = b"6 3\n" if format == "word2vec-text" else b""
    path = tmp_path / "T.txt"
    path.write_bytes(header + b"\n".join(lines))
    number = 6 if format == "word2vec-text" else 5
    for name in (None, format):
        if (shown := found.replace("\ufeff", "\\ufeff")) and found != shown:
            found = shown
        refused(path, f"T.txt, line {number}: ", found, "drop", format=name)


@pytest.mark.parametrize(("value", "shown"), [("nan", "nan"), ("inf", "inf"), ("-1e400", "-inf")])
def test_a_value_that_is_not_finite_is_named(value, shown, tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(f"a 1 2\nb 1 {value}\nc 1 2\n")
    refused(path, f"{shown} at row 1, column 1 (token 'b')")


@pytest.mark.parametrize("rows", [4, 6])
def test_the_header_must_tell_the_number_of_rows(rows, tmp_path):
    vectors, tokens = small(rows)
    path = tmp_path / "table.vec"
    path.write_bytes(b"5 3\n" + rows_of(vectors, tokens))
    refused(path, f"{rows} rows where the header declares 5", "correct the header")


def test_headers_that_promise_too_much_allocate_nothing(tmp_path):
    path = tmp_path / "table"
    for header in (b"999999999 3\n", b"6 999999999\n", b"999999999 999999999\n"):
        path.write_bytes(header + b"a 1 2 3\n" * 3)
        refused(
            path,
            "fetch it again" if header.endswith(b" 3\n") else "3 values where 999999999 are",
            format="word2vec-text",
        )
        refused(
            path,
            "row 0: the file ends" if b" 9" in header else "row 1: ",
            "declared",
            format="word2vec-binary",
        )
    for header in (b"3\n", b"0 3\n", b"-1 3\n", b"3 0\n", b"99999999999999 3\n", b"a b\n", b"3 3"):
        path.write_bytes(header)
        for format in ("word2vec-text", "word2vec-binary"):
            refused(path, "line 1: ", repr(header.decode()), "two positive integers", format=format)
    path.write_bytes(b"5 3\n")
    refused(path, "0 rows where the header declares 5", format="word2vec-text")


def test_a_header_read_as_glove_is_explained(tmp_path):
    vectors, tokens = small()
    path = write(tmp_path / "table.vec", "word2vec-text", vectors, tokens)
    refused(path, "line 1: 1 values where 3 are expected", "format=word2vec-text", format="glove")
    path = write(tmp_path / "table.txt", "glove", vectors, tokens)
    refused(path, "line 1: ", "format=glove", format="word2vec-text")


@pytest.mark.parametrize("block", [9, 1 << 20])
def test_cut_and_padded_binaries(block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    vectors, tokens = small()
    path = write(tmp_path / "table.bin", "word2vec-binary", vectors, tokens)
    whole = path.read_bytes()
    width = len(b"tok5 ") + 12 + 1
    for cut in range(2, 13):
        path.write_bytes(whole[:-cut])
        refused(path, f"row 5: the file ends {cut - 1} bytes before the end", "6 rows", "fetch it again")
    path.write_bytes(whole[: -width + 2])
    refused(path, "row 5: the file ends 12 or more bytes before")
    path.write_bytes(whole[: -width - 7])
    refused(path, "row 4: the file ends 6 bytes before")
    for extra in (b"x", b"\n", b"x" * 30):
        path.write_bytes(whole + extra)
        refused(path, f"{len(extra)} bytes after the last of 6 rows")
    path.write_bytes(b"6 3\n" + b"x" * (1 << 17))
    refused(path, "row 0: no space", "65536 bytes", format="word2vec-binary")


@pytest.mark.parametrize("format", STREAMED)
def test_cut_and_corrupt_gzip(format, tmp_path, monkeypatch):
    vectors, tokens = small(400)
    path = write(tmp_path / "table.gz", format, vectors, tokens)
    packed = gzip.compress(path.read_bytes())
    for head in (100, 1 << 20):
        monkeypatch.setattr(detect, "HEAD_BYTES", head)
        for length in (len(packed) // 2, len(packed) - 3):
            path.write_bytes(packed[:length])
            refused(path, "gzip data end too early", "fetch", format=format)
        path.write_bytes(packed[:-8] + b"\0" * 8)
        refused(path, "corrupt gzip data", format=format)


@pytest.mark.parametrize("format", STREAMED)
@pytest.mark.parametrize("zipped", [False, True])
def test_progress_ends_at_the_end(format, zipped, tmp_path, monkeypatch):
    small_blocks(monkeypatch, 100)
    vectors, tokens = small(200)
    path = write(tmp_path / "table", format, vectors, tokens)
    if zipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    calls: list[tuple[int, int]] = []
    read_table(path, format=format, progress=lambda *call: calls.append(call))
    size = path.stat().st_size
    assert len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1] == (size, size)
    assert {total for _, total in calls} == {size}


def test_growing_text_tables(tmp_path, monkeypatch):
    # Rows that get shorter: the estimate from the first blocks is too small each time.
    small_blocks(monkeypatch, 200)
    vectors = np.ones((500, 2), np.float32)
    vectors[:20] = np.float32(0.123456789)
    path = tmp_path / "table.txt"
    with path.open("w") as file:
        for i, row in enumerate(vectors):
            pad = "x" * (100 if i < 20 else 0)
            file.write(f"{pad}{i} {row[0]!s} {row[1]!s}\n")
    read = read_table(path)
    np.testing.assert_array_equal(read.vectors, vectors)
    assert read.vectors.flags.owndata and len(read.tokens) == 500


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    small_blocks(monkeypatch, 16)
    monkeypatch.setattr(stream, "MAX_LINE_BYTES", 100)
    path = tmp_path / "table.txt"
    path.write_bytes(b"a 1\n" + b"b" * 1000)
    refused(path, "a line of more than 100 bytes, which is the limit")


def test_one_line_of_more_values_than_there_can_be_rows_is_refused(tmp_path):
    path = tmp_path / "table.txt"
    path.write_bytes(b"a" + 20_000 * b" 1")
    refused(path, "line 1: 20000 values, and room for 1 rows of so many in the file: a table has at least as many rows")


def test_numbers_are_told_as_the_parser_reads_them():
    pieces = [
        b"",
        b"+",
        b"-",
        b"1",
        b"12",
        b".",
        b"e",
        b"E",
        b"nan",
        b"inf",
        b"INFinity",
        b"_",
        b"x",
        b"0x1",
        b"\xa0",
    ]
    for field in {a + b + c for a in pieces for b in pieces for c in pieces}:
        try:
            fields.parse(field + b"\n", b" ", {"0": pa.float32()}, 100)
            parsed = True
        except pa.ArrowInvalid:
            parsed = False
        assert fields.is_number(field) == parsed, field


# Arrays


def test_arrays_are_mapped_not_copied(tmp_path):
    vectors, _ = small()
    for dtype in (np.float32, np.float16):
        for order in "CF":
            np.save(tmp_path / "t.npy", np.asarray(vectors, dtype, order=order))
            read = read_table(tmp_path / "t.npy")
            assert isinstance(read.vectors, np.memmap) and not read.vectors.flags.writeable
            assert read.vectors.flags.f_contiguous == (order == "F")
            assert read.tokens is None
            np.testing.assert_array_equal(bits(read.vectors), bits(vectors.astype(dtype)))
        save_file({"e": vectors.astype(dtype), "bias": vectors[0]}, tmp_path / "t.safetensors")
        read = read_table(tmp_path / "t.safetensors")
        assert isinstance(read.vectors, np.memmap) and not read.vectors.flags.writeable
        np.testing.assert_array_equal(bits(read.vectors), bits(vectors.astype(dtype)))


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    header, body = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(halves=hnp.arrays(np.uint16, (5, 2)).filter(lambda h: bool(((h & 0x7F80) != 0x7F80).all())))
def test_bfloat16_is_widened_exactly(halves, tmp_path):
    torch = pytest.importorskip("torch")
    path = write_safetensors(tmp_path / "t.safetensors", {"e": ("BF16", [5, 2], halves.tobytes())})
    read = np.asarray(read_table(path).vectors)
    expected = torch.from_numpy(halves.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert read.dtype == np.float32
    np.testing.assert_array_equal(bits(read), bits(expected))


def test_which_tensor(tmp_path):
    vectors, _ = small()
    path = tmp_path / "model.safetensors"
    save_file({"a": vectors, "b": vectors[:4] * 2, "ids": np.zeros((9, 2), np.int64)}, path)
    listed = "2-D float tensors: 'a' [6, 3] F32, 'b' [4, 3] F32"
    refused(path, "2 tensors could be the table", listed)
    refused(path, "no tensor 'c'", listed, tensor="c")
    refused(path, "holds int64", "table.dtype=float32", tensor="ids")
    np.testing.assert_array_equal(read_table(path, tensor="b").vectors, vectors[:4] * 2)
    save_file({"ids": np.zeros((9, 2), np.int64)}, path)
    refused(path, "0 tensors could be the table", "2-D float tensors: none")
    save_file({str(i): vectors for i in range(30)}, path)
    refused(path, "and 21 more")
    refused(
        write(tmp_path / "t.npy", "npy", vectors, []),
        "only arrow, gguf, npz, onnx, parquet, safetensors, torch name tensors",
        tensor="a",
    )


def test_no_silent_narrowing(tmp_path):
    vectors, _ = small()
    for dtype, name in ((np.float64, "float64"), (np.int32, "int32"), (np.dtype(">f4"), ">f4")):
        np.save(tmp_path / "t.npy", vectors.astype(dtype))
        refused(tmp_path / "t.npy", f"holds {name}", "table.dtype=float32")
        np.testing.assert_array_equal(read_table(tmp_path / "t.npy", dtype="float32").vectors, vectors.astype(dtype))
    np.save(tmp_path / "t.npy", np.zeros(6, [("a", "f4"), ("b", "f4")]))
    refused(tmp_path / "t.npy", "float32 or float16 is needed")
    save_file({"e": vectors.astype(np.float64)}, tmp_path / "t.safetensors")
    refused(tmp_path / "t.safetensors", "holds float64", "table.dtype=float32")


def test_a_file_of_a_byte_or_two_is_no_model(tmp_path):
    for content in (b"\x08", b"\x08\x08", b"PK", b"\x80", b"{"):
        (tmp_path / "t.dat").write_bytes(content)
        refused(tmp_path / "t.dat", "")


def test_object_arrays_are_not_unpickled(tmp_path):
    np.save(tmp_path / "t.npy", np.array([[{}, {}]], object), allow_pickle=True)
    refused(tmp_path / "t.npy", "not a whole .npy file of numbers")


def test_shapes_that_are_no_table(tmp_path):
    for shape, part in (((6,), "1 dimension"), ((2, 3, 4), "3 dimension"), ((2, 6), "n must be at least d")):
        np.save(tmp_path / "t.npy", np.ones(shape, np.float32))
        refused(tmp_path / "t.npy", part)
    np.save(tmp_path / "t.npy", np.ones((0, 3), np.float32))
    refused(tmp_path / "t.npy", "")
    path = write_safetensors(tmp_path / "t.safetensors", {"e": ("F32", [0, 3], b"")})
    refused(path, "is empty")
    # Data that start, and end, on a page: there is nothing to map.
    header = path.read_bytes()[8:].ljust(mmap.ALLOCATIONGRANULARITY - 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(path, "is empty")


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_cut_and_padded_arrays(format, tmp_path):
    vectors, tokens = small()
    path = write(tmp_path / NAMES[format], format, vectors, tokens)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:40], whole[:10], whole + b"more"):
        path.write_bytes(content)
        refused(path, "array" if content[:-4] == whole and format == "npy" else "not a whole", format=format)


def damage(data: st.DataObject, format: str, folder: Path) -> None:
    """A damaged file gives a table, or an error of one line."""
    vectors, tokens = small()
    path = write(folder / NAMES[format], format, vectors, tokens)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content) - 1, 150)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b"\0")
    path.write_bytes(content)
    for name in (None, format):
        try:
            read_table(path, format=name)
        except ValueError as error:
            assert "\n" not in str(error) and str(path) in str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("format", [name for name in FORMATS if name not in WRITERS])
def test_damaged_files_give_a_table_or_a_value_error(format, data, tmp_path):
    damage(data, format, tmp_path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("format", WRITERS)
def test_damaged_files_of_libraries_too(format, data, tmp_path):
    damage(data, format, tmp_path)


# Duplicates


@pytest.mark.parametrize("format", FORMATS)
def test_duplicates(format, tmp_path):
    vectors, tokens = small(8)
    tokens[7], tokens[5], tokens[6] = tokens[0], tokens[2], tokens[2]
    path = write(tmp_path / "table", format, vectors, tokens)
    if format == "npy":
        path = path.with_suffix(".npy")
    options = {}
    if format not in OWN:
        options["tokens"] = tmp_path / "tokens.txt"
        options["tokens"].write_bytes(b"\n".join(tokens))
    first = "3 duplicate tokens (first: 'tok2' at rows 2 and 5, 'tok2' at rows 2 and 6, 'tok0' at rows 0 and 7)"
    refused(path, first, "table.duplicates=first", format=format, **options)
    read = read_table(path, format=format, duplicates="first", **options)
    assert read.tokens == ["tok0", "tok1", "tok2", "tok3", "tok4"]
    np.testing.assert_array_equal(read.vectors, vectors[:5])
    refused_value = pytest.raises(ValueError, match="duplicates is 'last'")
    with refused_value:
        read_table(path, duplicates="last")  # type: ignore[arg-type]


def test_only_five_duplicates_are_named(tmp_path):
    path = write(tmp_path / "t.txt", "glove", small(8)[0], [b"a"] * 8)
    refused(path, "7 duplicate tokens", "rows 0 and 5): pass")


def test_duplicates_are_dropped_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("eigenselect.selector.sources.rows.BLOCK_ROWS", 3)
    vectors, tokens = small(20)
    for row in (1, 3, 4, 5, 13):
        tokens[row] = tokens[0]
    keep = [row for row in range(20) if row not in (1, 3, 4, 5, 13)]
    read = read_table(write(tmp_path / "t.txt", "glove", vectors, tokens), duplicates="first")
    np.testing.assert_array_equal(read.vectors, vectors[keep])
    assert read.tokens == [tokens[row].decode() for row in keep]


# Files


def test_missing_empty_and_unreadable_files(tmp_path, monkeypatch):
    refused(tmp_path / "none.txt", "no such file")
    path = tmp_path / "t.txt"
    path.touch()
    refused(path, "empty, 0 bytes")
    path.write_bytes(b"a 1\n")

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", deny)
    refused(path, "Permission denied", "check the file and its permissions")


def test_the_digest_is_checked(tmp_path):
    path = write(tmp_path / "t.txt", "glove", *small())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_table(path, sha256=digest.upper()).n == 6
    refused(path, digest, "0" * 64, sha256="0" * 64)


def test_formats_must_be_known(tmp_path):
    path = write(tmp_path / "t.txt", "glove", *small())
    with pytest.raises(ValueError, match=re.escape("unknown format 'tsv': the formats are ")):
        read_table(path, format="tsv")
    for content in (b"no table here\n", bytes(range(256))):
        path.write_bytes(content)
        refused(path, "unknown format", "table.format", *FORMATS)


def test_other_files_are_refused_with_a_cure(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("glove.txt", "a 1 2\n")
        archive.writestr("more.txt", "a 1 2\n")
    refused(tmp_path / "a.zip", "zip archive", "unzip")
    old = struct.pack("<12i", 2, 5, 5, 5, 5, 1, 2, 2, 10000, 2, 4, 10000) + bytes(100)
    for content, kind, cure in (
        (old, "fastText model", ".vec"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5", "numpy.save"),
        *((pickle.dumps([1.0], protocol), "pickle", "safetensors") for protocol in (2, 3, 4, 5)),
    ):
        path = tmp_path / "model.bin"
        path.write_bytes(content)
        refused(path, kind, cure)
        refused(path, kind, cure, format="word2vec-binary")
        path.write_bytes(gzip.compress(content))
        refused(path, kind, cure)


# Real files


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in ../shared/data")
    return path


@data
@pytest.mark.parametrize(
    ("name", "shape", "first", "last"),
    [
        ("formats/gensim__euclidean_vectors.bin", (2747, 10), "the", None),
        ("formats/en_md_300d.top3000.vec", (3000, 300), "</s>", None),
        ("formats/en_md_300d.top2000.w2v.bin", (2000, 300), "</s>", None),
        ("formats/gensim__test_glove.txt", (76, 50), "the", None),
        ("formats/gensim__lee_fasttext.vec", (1762, 10), "the", None),
        ("formats/gensim__pang_lee_polarity_fasttext.vec", (1694, 100), ".", None),
        ("formats/gensim__crime-and-punishment.vec", (291, 5), "и", None),
        ("embeddings/glove.6B.50d.sub.txt.gz", (40693, 50), "the", None),
        ("embeddings/glove.6B.100d.sub.txt.gz", (38875, 100), "the", None),
    ],
)
def test_real_files(name, shape, first, last):
    table = read_table(real(name))
    assert table.vectors.shape == shape
    assert table.tokens[0] == first
    assert len(set(table.tokens)) == shape[0]


@data
def test_real_fasttext_models():
    """Without subwords the rows of the model are the vectors that fastText wrote beside it."""
    model = read_table(real("formats/gensim__pang_lee_polarity_fasttext.bin"))
    text = read_table(real("formats/gensim__pang_lee_polarity_fasttext.vec"))
    assert model.tokens == text.tokens and not model.remarks
    np.testing.assert_allclose(model.vectors, text.vectors, atol=1e-6)
    for name, n, d, token, subwords in (
        ("gensim__lee_fasttext_new.bin", 1763, 10, "the", 1000),
        ("gensim__crime-and-punishment.bin", 291, 5, "и", 100),
    ):
        table = read_table(real(f"formats/{name}"))
        assert (table.n, table.d, table.tokens[0]) == (n, d, token)
        assert f"average {subwords:,} rows of subwords" in table.remarks[0]
    refused(real("formats/lid.176.ftz"), "a quantized fastText model", ".vec")
    refused(real("formats/gensim__non_ascii_fasttext.bin"), "a fastText model", ".vec")


@data
def test_other_real_files_are_refused():
    few = real("formats/gensim__EN.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt")
    refused(few, "n = 20 rows and d = 300 columns")


@data
def test_minilm_with_its_vocabulary():
    path = real("embeddings/minilm_l6_wordpiece_384d.fp16.safetensors")
    table = read_table(path, tokens=real("embeddings/minilm_l6.vocab.txt"))
    assert table.vectors.shape == (30522, 384)
    assert table.vectors.dtype == np.float16
    assert isinstance(table.vectors, np.memmap)
    assert (table.tokens[0], table.tokens[101], table.tokens[1996]) == ("[PAD]", "[CLS]", "the")


@data
def test_the_same_table_in_three_formats():
    whole = read_table(real("embeddings/en_md_300d.npy"), tokens=real("embeddings/en_md_300d.vocab.txt"))
    assert whole.vectors.shape == (19987, 300)
    row = {token: i for i, token in enumerate(whole.tokens)}
    binary = read_table(real("formats/en_md_300d.top2000.w2v.bin"))
    np.testing.assert_array_equal(binary.vectors, whole.vectors[[row[t] for t in binary.tokens]])
    text = read_table(real("formats/en_md_300d.top3000.vec"))
    rounded = whole.vectors[[row[t] for t in text.tokens]]
    np.testing.assert_allclose(text.vectors, rounded, rtol=0, atol=0.5001e-4)


@data
def test_real_text_agrees_with_pandas():
    pandas = pytest.importorskip("pandas")
    path = real("formats/gensim__lee_fasttext.vec")
    read = pandas.read_csv(
        path,
        sep=" ",
        header=None,
        quoting=3,
        skiprows=1,
        na_filter=False,
    )
    table = read_table(path)
    assert table.tokens == list(read[0])
    np.testing.assert_allclose(table.vectors, read.iloc[:, 1:11].to_numpy(np.float64).astype(np.float32), rtol=1e-6)
