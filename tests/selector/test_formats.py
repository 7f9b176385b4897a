"""What is special in each of the formats that are read through libraries, and in how a file comes."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet

from eigenselect.compressors.data.stored import StoredRows
from eigenselect.selector.sources import FORMATS, read_table
from tests.selector.test_sources import NAMES, refused, small, write
from tests.selector.writers import columns, fasttext

VECTORS, TOKENS = small(30, 4)
WORDS = [token.decode() for token in TOKENS]


@pytest.mark.parametrize("kind", ["fixed", "list", "columns"])
@pytest.mark.parametrize("container", ["parquet", "file", "stream", "feather"])
def test_columns_of_numbers_or_one_of_lists(kind, container, tmp_path):
    table, path = columns(VECTORS, TOKENS, kind), tmp_path / "t"
    if container == "parquet":
        parquet.write_table(table, path, row_group_size=7)
    elif container == "feather":
        feather.write_feather(table, path, chunksize=8)
    else:
        with (ipc.new_file if container == "file" else ipc.new_stream)(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=9)
    read = read_table(path)
    np.testing.assert_array_equal(read.vectors, VECTORS)
    assert read.tokens == WORDS
    first = read_table(path, rows=20)
    np.testing.assert_array_equal(first.vectors, VECTORS[:20])
    assert first.tokens == WORDS[:20]


def test_which_columns(tmp_path):
    path = tmp_path / "t.parquet"
    table = columns(VECTORS, TOKENS, "list")
    parquet.write_table(table.append_column("other", table["vector"]).append_column("id", pa.array(range(30))), path)
    np.testing.assert_array_equal(read_table(path).vectors, VECTORS)
    np.testing.assert_array_equal(read_table(path, tensor="other").vectors, VECTORS)
    refused(path, "2 columns could be the vectors", "'other' list<", tensor="none")
    parquet.write_table(table.append_column("language", pa.array(["en"] * 30)), path)
    assert read_table(path).tokens == WORDS
    parquet.write_table(table.rename_columns(["a", "vector"]).append_column("b", pa.array(["en"] * 30)), path)
    read = read_table(path)
    assert read.tokens is None and "several columns could hold them (a, b)" in read.remarks[0]
    parquet.write_table(pa.table({"word": WORDS}), path)
    refused(path, "no column of numbers", "'word' string")
    parquet.write_table(pa.table({"word": WORDS, "x": np.arange(30)}), path)
    refused(path, "holds int64", "table.dtype=float32")
    assert read_table(path, dtype="float16").vectors.dtype == np.float16


def test_what_columns_lack_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    lists = [[1.0, 2.0], [3.0, 4.0], [5.0]]
    parquet.write_table(pa.table({"vector": lists}), path)
    refused(path, "1 values at row 2 of column 'vector' where 2 are expected")
    parquet.write_table(pa.table({"vector": [[1.0, 2.0], None, [3.0, 4.0]]}), path)
    refused(path, "no value at row 1 of column 'vector'")
    parquet.write_table(pa.table({"vector": [[1.0, 2.0], [3.0, None]]}), path)
    refused(path, "a list of column 'vector' lacks a value")
    parquet.write_table(pa.table({"word": ["a", None], "x": [1.0, 2.0]}), path)
    refused(path, "no token at row 1 of column 'word'")
    parquet.write_table(pa.table({"x": [1.0, None]}), path)
    refused(path, "no value at row 1 of column 'x'")


@pytest.mark.parametrize("separator", [",", ";", ", "])
@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_comma_separated_values(separator, names, packed, tmp_path):
    lines = [separator.join([word, *(repr(float(x)) for x in row)]) for word, row in zip(WORDS, VECTORS, strict=True)]
    lines[3] = lines[3].replace("tok3", '"to""k, 3"')
    content = "\r\n".join([*([separator.join(["", "0", "1", "2", "3"])] if names else []), *lines]).encode()
    (tmp_path / "t").write_bytes(gzip.compress(content) if packed else content)
    read = read_table(tmp_path / "t")
    np.testing.assert_array_equal(read.vectors, VECTORS)
    assert read.tokens == [*WORDS[:3], 'to"k, 3', *WORDS[4:]]


def test_comma_separated_values_that_are_bare_or_odd(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(",".join(f"{x:.9g}" for x in row) for row in VECTORS))
    read = read_table(path)
    np.testing.assert_array_equal(read.vectors, VECTORS)
    assert read.tokens is None
    path.write_text("a,1,2\nb,3\nc,4,5\n")
    refused(path, "Expected 3 columns, got 2: b,3")
    path.write_text("a,1,2,3\nb,3,4,5\nc,4,5,x\n")
    refused(path, "'x'")


def test_npz_and_torch_choose_a_tensor_by_name(tmp_path):
    torch = pytest.importorskip("torch")
    both = {"a": VECTORS, "b": VECTORS * 2}
    np.savez_compressed(tmp_path / "t.npz", **both)
    torch.save({name: torch.from_numpy(array) for name, array in both.items()}, tmp_path / "t.pt")
    for name in ("t.npz", "t.pt"):
        refused(tmp_path / name, "2 tensors could be the table", "'a' [30, 4] float32, 'b' [30, 4] float32")
        np.testing.assert_array_equal(read_table(tmp_path / name, tensor="b").vectors, VECTORS * 2)


def test_torch_checkpoints_of_every_kind(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "t.pt"
    for content in (torch.from_numpy(VECTORS), {"state_dict": {"x.wte.weight": torch.from_numpy(VECTORS)}, "epoch": 3}):
        for zipped in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            np.testing.assert_array_equal(read_table(path).vectors, VECTORS)
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        narrow = torch.from_numpy(VECTORS).to(getattr(torch, name))
        torch.save({"e": narrow}, path)
        read = read_table(path)
        assert read.stored == name
        np.testing.assert_array_equal(read.vectors, narrow.float().numpy())
    torch.save({"e": torch.from_numpy(VECTORS), "run": os.system}, path)
    refused(path, "holds more than tensors, which could run code", "state_dict")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1", "BF16", "F16"])
def test_gguf_is_dequantized_where_it_is_read(kind, tmp_path):
    gguf = pytest.importorskip("gguf")
    vectors = np.random.default_rng(0).normal(size=(50, 32)).astype(np.float32)
    type_ = gguf.GGMLQuantizationType[kind]
    data = gguf.quantize(vectors, type_)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_token_list([f"t{i}" for i in range(48)])
    writer.add_tensor("token_embd.weight", data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for path in (tmp_path / "m.gguf", tmp_path):
        table = read_table(path)
        np.testing.assert_array_equal(table.vectors, gguf.dequantize(data, type_), strict=kind != "F16")
        some = np.array([40, 3])
        np.testing.assert_array_equal(table.read(some), np.asarray(table.vectors)[some])
        assert table.stored_nbytes == data.nbytes
    table = read_table(tmp_path / "m.gguf")
    assert table.tokens[47:] == ["t47", "<padding 0>", "<padding 1>"]


def test_gguf_without_its_package_is_named_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    (tmp_path / "m.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(90))
    refused(tmp_path / "m.gguf", "a GGUF model", "pip install 'eigenselect[gguf]'")


def test_fasttext_rows_are_those_of_words(tmp_path):
    path = tmp_path / "m.bin"
    for buckets, labels in ((0, 0), (0, 2), (7, 0)):
        fasttext(path, VECTORS, TOKENS, buckets, labels)
        read = read_table(path)
        np.testing.assert_array_equal(read.vectors, VECTORS)
        assert read.tokens == WORDS and isinstance(read.vectors, np.memmap)
        assert [remark for remark in read.remarks if "7 rows of subwords" in remark] == [*read.remarks][: buckets > 0]
    fasttext(path, VECTORS, TOKENS, quantized=True)
    refused(path, "a quantized fastText model", ".vec")
    fasttext(path, VECTORS, TOKENS)
    path.write_bytes(path.read_bytes()[:-60])
    refused(path, "without a matrix of 30 x 4")


def test_other_numbers_are_rounded_where_it_is_asked_for(tmp_path):
    wide = np.random.default_rng(0).normal(size=(30, 4)) * 1e3
    np.save(tmp_path / "t.npy", wide)
    np.save(tmp_path / "f.npy", np.asfortranarray(wide))
    for name in ("t.npy", "f.npy"):
        for dtype in ("float32", "float16"):
            table = read_table(tmp_path / name, dtype=dtype)
            assert isinstance(table.vectors, StoredRows) and (table.stored, table.stored_nbytes) == ("float64", 960)
            np.testing.assert_array_equal(table.vectors, wide.astype(dtype), strict=True)
            np.testing.assert_array_equal(table.read(np.array([9, 9, 2])), wide.astype(dtype)[[9, 9, 2]])
    with pytest.raises(ValueError, match="dtype is 'float64': it must be float32 or float16"):
        read_table(tmp_path / "t.npy", dtype="float64")
    np.save(tmp_path / "t.npy", wide * 1e3)
    refused(tmp_path / "t.npy", "inf at row 0", dtype="float16")


@pytest.mark.parametrize("format", FORMATS)
def test_the_first_rows_alone(format, tmp_path):
    path = write(tmp_path / NAMES[format], format, VECTORS, TOKENS)
    read = read_table(path, rows=11)
    np.testing.assert_array_equal(read.vectors, VECTORS[:11])
    assert read.tokens in (None, WORDS[:11])
    assert read_table(path, rows=31).n == 30
    with pytest.raises(ValueError, match="rows is 0: it must be at least 1"):
        read_table(path, rows=0)


def test_the_first_rows_of_a_cut_file_are_read(tmp_path):
    for format in ("glove", "word2vec-text", "word2vec-binary"):
        path = write(tmp_path / "t", format, VECTORS, TOKENS)
        path.write_bytes(path.read_bytes()[:-20])
        assert read_table(path, rows=10).n == 10
        refused(path, "row 29" if format == "word2vec-binary" else "line 3")


@pytest.mark.parametrize("format", FORMATS)
def test_a_table_comes_through_a_pipe(format, tmp_path):
    path = write(tmp_path / NAMES[format], format, VECTORS, TOKENS)
    os.mkfifo(pipe := tmp_path / "pipe")
    feeding = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    feeding.start()
    read = read_table(pipe)
    feeding.join()
    np.testing.assert_array_equal(np.asarray(read.vectors), VECTORS)
    assert read.read(slice(0, 2)).shape == (2, 4)


def test_what_comes_through_a_pipe_is_blamed_by_its_name(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    for content, found in ((b"a 1 2\nb 1\n", "line 2: 1 values where 2"), (b"", "nothing came through the pipe")):
        feeding = threading.Thread(target=pipe.write_bytes, args=(content,))
        feeding.start()
        refused(pipe, found)
        feeding.join()
    refused(Path("/dev/null"), "not a file, folder or pipe")


# Text that is nearly right


def lines_of(d: int, odd: dict[int, str]) -> str:
    lines = [f"w{i} " + " ".join(["0.5"] * d) for i in range(9)]
    for row, token in odd.items():
        lines[row] = lines[row].replace(f"w{row}", token)
    return "".join(line + "\n" for line in lines)


@pytest.mark.parametrize("odd", [0, 1, 5])
def test_a_declared_dimension_says_which_fields_are_values(odd, tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("9 3\n" + lines_of(3, {odd: "windows 10"}))
    assert read_table(path).tokens[odd] == "windows 10" and read_table(path).d == 3
    path.write_text(lines_of(3, {odd: "windows 10"}))
    refused(path, f"line {odd + 1}: 4 values where 3 are expected", "table.dimension=3")
    assert read_table(path, dimension=3).tokens[odd] == "windows 10"


def test_a_wrong_dimension_is_not_taken_for_tokens_with_numbers(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("9 2\n" + lines_of(3, {}))
    refused(path, "line 2: 3 values where 2 are expected")
    path.write_text(lines_of(3, {}))
    refused(path, "line 1: 3 values where 2 are expected", dimension=2)
    refused(path, "line 1: 3 values where 4 are expected", dimension=4)


def test_the_odd_first_line_is_blamed(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("a 1 2\n" + lines_of(3, {}))
    refused(path, "line 1: 2 values where 3 are expected")


def test_a_short_index_of_shards_that_is_none(tmp_path):
    path = tmp_path / "x.index.json"
    path.write_text("{")
    refused(tmp_path, "no weights in this folder")
    (tmp_path / "model.safetensors.index.json").write_text("{")
    refused(tmp_path, "not JSON")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"wte.weight": "m.xyz"}}))
    refused(tmp_path, "m.xyz, which is not in the folder")
    (tmp_path / "m.xyz").write_bytes(np.ones((3, 2), ml_dtypes.bfloat16).tobytes())
    refused(tmp_path, "a shard of a format that is not read")
