"""Files made to hang, crash or fill what reads them: each is refused in one short line that names it, soon."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import save

from eigenselect.compressors import load
from eigenselect.selector.checking.examination import examine
from eigenselect.selector.sources import read_table
from tests.cases import gaussian
from tests.export.test_walks import LOOK, chain, double, identity, model_of

TABLE = gaussian(20, 6)

SECONDS = 5


def payload(text: str) -> bytes:
    return save({"table": TABLE}, metadata={"payload": text})


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + TABLE.tobytes()


def damaged_list() -> bytes:
    parquet.write_table(pa.table({"token": [f"w{i}" for i in range(20)]}), file := pa.BufferOutputStream())
    whole = bytearray(file.getvalue().to_pybytes())
    whole[-60:-12] = bytes(48)
    return bytes(whole)


INDEX = json.dumps({"weight_map": {"embed_tokens.weight": "../../secret.safetensors"}}).encode()

HUGE = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 50}, 6)}}\n"

DEEP = b'{"a":' * 100_000

HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "one byte": ("t.txt", lambda: b"\0"),
    "a gzip bomb": ("t.txt.gz", lambda: gzip.compress(bytes(1 << 26), 9)),
    "a gzip bomb of one line": ("t.txt.gz", lambda: gzip.compress(b"word" + b" 1" * (1 << 23), 1)),
    "a line of 200,000 columns": ("t.txt", lambda: b"word" + b" 1" * 200_000),
    "a header of 999,999,999 rows": ("t.vec", lambda: b"999999999 999999999\nword 1 2 3\n"),
    "a header of parentheses": ("t.npy", lambda: npy("(" * 5000 + "\n")),
    "a header of a large array": (
        "t.npy",
        lambda: npy(HUGE),
    ),
    "a table in 2^40 ways": (
        "t.onnx",
        lambda: model_of([*chain(40, double("Mul"), "t", "w"), LOOK_AT_W]).SerializeToString(),
    ),
    "ids in 2^40 ways": (
        "t.onnx",
        lambda: model_of([*chain(40, double("Mul"), "ids", "i"), LOOK_AT_I]).SerializeToString(),
    ),
    "a chain of 20,000 nodes": (
        "t.onnx",
        lambda: model_of([*chain(20_000, identity, "t", "w"), LOOK_AT_W]).SerializeToString(),
    ),
    "a shard outside": ("m/model.safetensors.index.json", lambda: INDEX),
    "JSON without end": ("m/model.safetensors.index.json", lambda: DEEP),
    "a header without end": ("t.safetensors", lambda: len(DEEP).to_bytes(8, "little") + DEEP),
    "a payload without end": (
        "p.safetensors",
        lambda: payload(DEEP.decode()),
    ),
    "parts of parts": ("p.safetensors", lambda: payload(json.dumps({"version": 1, **nested(500)}))),
    "a payload of nothing": ("p.safetensors", lambda: payload("{}")),
    "a manifest without end": ("h/manifest.json", lambda: DEEP),
    "a manifest of a list": ("h/manifest.json", lambda: b"[]"),
    "a manifest of another version": ("h/manifest.json", lambda: b'{"version": "' + b"x" * 5000 + b'"}'),
    "a manifest of files outside": ("h/manifest.json", lambda: b'{"version": 1, "files": {"../../etc/passwd": {}}}'),
    "a list of tokens that is damaged": ("tokens.parquet", damaged_list),
}
"""What it is -> the file, and what is in it."""

LOOK_AT_W, LOOK_AT_I = (type(LOOK)() for _ in range(2))
for node, inputs in ((LOOK_AT_W, ["w", "ids"]), (LOOK_AT_I, ["t", "i"])):
    node.CopyFrom(LOOK)
    node.input[:] = inputs


def nested(deep: int) -> dict[str, object]:
    return {"kind": "Unaligned", "part": nested(deep - 1) if deep else {"kind": "Dense"}}


def read(path: Path) -> object:
    if path.name == "manifest.json":
        return examine(path.parent)
    if path.name == "p.safetensors":
        return load(path)
    if path.name == "tokens.parquet":
        np.save(path.with_name("t.npy"), TABLE)
        return read_table(path.with_name("t.npy"), tokens=path)
    return read_table(path.parent if path.parent.name == "m" else path)


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_in_bounded_time(case: str, tmp_path: Path) -> None:
    name, content = HOSTILE[case]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content())
    start = time.process_time()
    with pytest.raises(ValueError) as refused:
        read(tmp_path / name)
    said, took = str(refused.value), time.process_time() - start
    assert took < SECONDS, f"{took} s"
    assert "\n" not in said and len(said) < 300 + len(str(tmp_path)), said
    assert any(part in said for part in Path(name).parts), said


@pytest.mark.parametrize("case", ["a gzip bomb"])
def test_a_bomb_is_not_unpacked(case: str, tmp_path: Path) -> None:
    name, content = HOSTILE[case]
    (tmp_path / name).write_bytes(content())
    tracemalloc.start()
    with pytest.raises(ValueError):
        read_table(tmp_path / name)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 25, f"{most:,} bytes"
