"""Files that are something else than a table: named, with the cure, whatever format was given or guessed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from eigenselect.selector.sources import read_table
from tests.selector.test_sources import refused, rows_of, small, write

ROWS = rows_of(*small(30, 3))
"""A table as GloVe text."""

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 1037962819\n" % (b"4d" * 32)
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>\n"


def tar() -> bytes:
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w") as archive:
        (entry := tarfile.TarInfo("glove.txt")).size = len(ROWS)
        archive.addfile(entry, io.BytesIO(ROWS))
    return file.getvalue()


def zipped() -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("glove.txt", ROWS)
        archive.writestr("more.txt", ROWS)
    return file.getvalue()


def columns(name: str) -> bytes:
    table = pa.table({"word": ["a", "b"], "vector": [[1.0, 2.0], [3.0, 4.0]]})
    file = io.BytesIO()
    parquet.write_table(table, file) if name == "parquet" else feather.write_feather(table, file)
    return file.getvalue()


ELSEWHERE = {
    "lfs.txt": (POINTER, "git-lfs pointer", "git lfs pull"),
    "lfs.onnx": (POINTER, "git-lfs pointer", "git lfs pull"),
    "lfs.safetensors": (POINTER, "git-lfs pointer", "git lfs pull"),
    "page.txt": (PAGE, "HTML", "fetch the file again"),
    "page.npy": (b"\n <html lang=en>\n<head>", "HTML", "fetch the file again"),
    "denied.vec": (
        b"<?xml version='1.0'?><Error>AccessDenied</Error>",
        "XML page",
        "fetch the file again",
    ),
    "a.tar": (tar(), "tar archive", "tar -xf"),
    "a.tar.gz": (gzip.compress(tar()), "tar archive", "tar -xf"),
    "a.zip": (zipped(), "zip archive", "unzip"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(90), "7z archive", "7z x"),
    "a.gz.gz": (gzip.compress(gzip.compress(ROWS)), "packed twice", "gzip", "unpack it once"),
    "a.gz.xz": (lzma.compress(gzip.compress(ROWS)), "packed twice", "gzip", "unpack it once"),
    "m.ort": (b"\x24\0\0\0ORTM" + bytes(90), ".ort", "give the .onnx model"),
    "m.tflite": (b"\x1c\0\0\0TFL3" + bytes(90), "TFLite", "numpy.save"),
    "m.magnitude": (b"SQLite format 3\0" + bytes(90), "SQLite", "pymagnitude"),
    "m.fifu": (b"FiFu" + bytes(90), "finalfusion", "ffp-convert"),
    "t.json": (b"\xef\xbb\xbf" + json.dumps({"a": [1.0, 2.0]}).encode(), "JSON", "a line of text"),
    "words.json": (b'{\n "a": [1.5,2,3.5],\n "b": [4,5,6]\n}', "JSON", "a line of text"),
    "list.json": (b'[\n ["a", 1, 2]\n]', "JSON", "a line of text"),
}

NEARLY = {
    "commas and a header": (b"30 3\n" + ROWS.replace(b" ", b","), "commas", "CSV", "table.format=csv"),
    "semicolons and a header": (b"30 3\n" + ROWS.replace(b" ", b";"), "semicolons", "table.format=csv"),
    "two spaces": (ROWS.replace(b" ", b"  "), "several spaces", "tr -s ' '"),
    "two spaces and a header": (b"30 3\n" + ROWS.replace(b" ", b"  "), "several spaces", "tr -s ' '"),
    "a space before the header": (b" 30 3\n" + ROWS, "line 1", "' 30 3'", "header", "make it '30 3'"),
    "a field more in the header": (b"30 3 glove\n" + ROWS, "line 1", "'30 3 glove'", "make it '30 3'"),
    "UTF-16": (ROWS.decode().encode("utf-16"), "UTF-16LE", "iconv"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_something_else_is_named_with_its_cure(name, tmp_path):
    content, *words = ELSEWHERE[name]
    (tmp_path / name).write_bytes(content)
    for format in (None, "glove", "word2vec-binary", "npy", "safetensors", "onnx"):
        refused(tmp_path / name, *words, format=format)


@pytest.mark.parametrize("name", NEARLY)
def test_text_that_is_nearly_a_table_is_named_with_its_cure(name, tmp_path):
    content, *words = NEARLY[name]
    (tmp_path / "t.txt").write_bytes(content)
    for format in (None, "glove", "word2vec-text", "word2vec-binary"):
        refused(tmp_path / "t.txt", *words, format=format)


def test_bad_first_rows_after_a_header_are_lines_of_text(tmp_path):
    for row, found in (("w0 0,1 0,2 0,3", "value 1 of 3 is '0,1', not a number"), ("w0", "0 values where 3")):
        (tmp_path / "t.vec").write_text(f"2 3\n{row}\nw1 1 2 3\n")
        refused(tmp_path / "t.vec", "line 2: ", found)


@pytest.mark.parametrize("setting", ["tokens", "keep", "counts"])
def test_lists_that_are_something_else_are_named_with_their_cure(setting, tmp_path):
    vectors, tokens = small()
    table = write(tmp_path / "t.npy", "npy", vectors, tokens)
    for content, *words in (
        (POINTER, "git-lfs pointer", "git lfs pull"),
        (PAGE, "HTML"),
        (zipped(), "zip archive"),
        (tar(), "tar archive"),
        (gzip.compress(b"a\n"), "packed in gzip", "gunzip"),
        (bz2.compress(b"a\n"), "packed in bz2", "bunzip2"),
    ):
        for name in ("list.txt", "list.parquet"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError) as caught:
                read_table(table, **{setting: tmp_path / name})
            assert all(word in str(caught.value) for word in (name, *words))


@pytest.mark.parametrize("header", [b"", b"5 3\n"])
def test_tables_whose_tokens_look_like_something_else_are_read(header, tmp_path):
    for token in ("{", "[", '["', "<html>", "<?xml", "PAR1", "GGUF", "FiFu", "7z", "PK", "BZh9", "a,1", ",", ";", "30"):
        vectors, tokens = small(5)
        tokens[0] = token.encode()
        (tmp_path / "t.txt").write_bytes(header + rows_of(vectors, tokens))
        assert read_table(tmp_path / "t.txt").tokens[0] == token


def test_a_safetensors_header_may_be_as_long_as_the_start_of_a_pickle(tmp_path):
    vectors, _ = small()
    entry = {"e": {"dtype": "F32", "shape": [6, 3], "data_offsets": [0, 72]}}
    for length in (0x280, 0x380, 0x480):
        text = json.dumps(entry).encode().ljust(length)
        (tmp_path / "t.safetensors").write_bytes(struct.pack("<Q", length) + text + vectors.tobytes())
        np.testing.assert_array_equal(read_table(tmp_path / "t.safetensors").vectors, vectors)


def in_zip(content: bytes) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/glove.txt", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("pack", "name", "tool"),
    [
        (gzip.compress, "gzip", "gunzip"),
        (bz2.compress, "bz2", "bunzip2"),
        (lzma.compress, "xz", "unxz"),
        (partial(pa.compress, codec="zstd", asbytes=True), "zstd", "unzstd"),
        (in_zip, "zip", "unzip"),
    ],
)
def test_packed_tables_are_read(pack, name, tool, tmp_path: Path):
    vectors, tokens = small(400)
    path = tmp_path / "table"
    for format in ("glove", "word2vec-text", "word2vec-binary"):
        packed = pack(write(path, format, vectors, tokens).read_bytes())
        path.write_bytes(packed)
        np.testing.assert_array_equal(read_table(path).vectors, vectors)
        assert read_table(path).tokens == [token.decode() for token in tokens]
        path.write_bytes(packed[:-30])
        refused(path, "zip archive" if name == "zip" else f"{name} data", "unzip" if name == "zip" else "fetch")
        path.write_bytes(packed[:200] + bytes(200) + packed[400:])
        if name != "zstd":  # which has no checksum unless it is asked for
            refused(path, f"corrupt {name} data")
    for format in ("npy", "safetensors"):
        packed = pack(write(path.with_suffix(".npy"), format, vectors, tokens).read_bytes())
        path.write_bytes(packed)
        refused(path, f"{format} file is not read from {name}: unpack it with {tool}")
