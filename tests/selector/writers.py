"""Tables written by the libraries of their formats, or byte by byte: what the readers are tested on."""

from __future__ import annotations

import csv
import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet


def npz(path: Path, vectors: np.ndarray, tokens: list[bytes]) -> None:
    with path.open("wb") as file:
        np.savez(file, embedding=vectors, bias=vectors[0])


def torch(path: Path, vectors: np.ndarray, tokens: list[bytes]) -> None:
    library = pytest.importorskip("torch")
    library.save({"model": {"wte.weight": library.from_numpy(vectors), "step": 3}, "args": ["a"]}, path)


def gguf(path: Path, vectors: np.ndarray, tokens: list[bytes]) -> None:
    library = pytest.importorskip("gguf")
    writer = library.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", vectors)
    writer.add_tensor("output.weight", vectors + 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def columns(vectors: np.ndarray, tokens: list[bytes], kind: str = "fixed") -> pa.Table:
    """An Arrow table: with lists of d values, lists of any length, or a column for each value."""
    words = [token.decode() for token in tokens]
    flat = pa.array(vectors.ravel())
    if kind == "columns":
        return pa.table({"word": words, **{f"x{j}": column for j, column in enumerate(vectors.T.copy())}})
    if kind == "fixed":
        return pa.table({"word": words, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    starts = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.table({"word": words, "vector": pa.ListArray.from_arrays(pa.array(starts), flat)})


def parquet_file(path: Path, vectors: np.ndarray, tokens: list[bytes]) -> None:
    parquet.write_table(columns(vectors, tokens), path, row_group_size=5)


def arrow(path: Path, vectors: np.ndarray, tokens: list[bytes]) -> None:
    table = columns(vectors, tokens)
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)


def comma_separated(path: Path, vectors: np.ndarray, tokens: list[bytes]) -> None:
    writer = csv.writer(file := io.StringIO(newline=""), lineterminator="\n")
    writer.writerow(["word", *(f"x{j}" for j in range(vectors.shape[1]))])
    for token, row in zip(tokens, vectors, strict=True):
        writer.writerow([token.decode(), *(np.format_float_scientific(x, unique=True) for x in row)])
    path.write_text(file.getvalue(), encoding="utf-8", newline="")


def fasttext(
    path: Path, vectors: np.ndarray, tokens: list[bytes], buckets: int = 0, labels: int = 0, quantized: bool = False
) -> None:
    n, d = vectors.shape
    settings = struct.pack("<14id", 793712314, 12, d, 5, 5, 1, 5, 1, 2, 2, buckets, 3, 6 if buckets else 0, 100, 1e-4)
    words = b"".join(token + b"\0" + struct.pack("<qb", 7, 0) for token in tokens)
    words += b"".join(b"__label__%d\0" % i + struct.pack("<qb", 7, 1) for i in range(labels))
    dictionary = struct.pack("<iiiqq", n + labels, n, labels, 7 * n, -1) + words
    matrix = struct.pack("<?qq", quantized, n + buckets, d) + vectors.astype("<f4").tobytes() + bytes(4 * buckets * d)
    path.write_bytes(settings + dictionary + matrix + struct.pack("<?qq", False, 0, d))


WRITERS = {
    **{"npz": npz, "torch": torch, "gguf": gguf, "parquet": parquet_file, "arrow": arrow, "csv": comma_separated},
    "fasttext": fasttext,
}
"""Format -> what writes a table in it."""
