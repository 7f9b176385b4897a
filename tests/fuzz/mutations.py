"""Files with a few things changed at random: in their bytes, and in the fields of their formats."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

Change = Callable[[bytes, Random], bytes]

INTEGERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)

WORDS = (
    *(b"0", b"-1", b"1", b"2", b"1e999", b"-1e38", b"nan", b"inf", b"-0.0", b"1_000", b"0x10", b"99999999999999999999"),
    *(b"", b" ", b"\t", b"\n", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80"),
    *(b'"', b"'", b",", b";", b"[bold]", b"\x1b[31m", b"=1+1", b'!json "', b"x" * 5000, b"1 " * 3000, b"\n" * 40),
)

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 8, 300, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, float("inf"), float("nan")),
    *("", "x" * 3000, "a\nb\x1b[31m", "[bold]", "../../x", "/etc/passwd", "float32", "\ud800", [], {}, [[]], [1, "a"]),
    *([0, 0], [2**40, 2**40], [-1, 5], {"a": {"a": 1}}),
)


def some_bytes(data: bytes, random: Random) -> bytes:
    """One to four places changed: a bit, a byte, a number of up to 8 bytes; cut, doubled, put in."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if not found:
            found = bytearray(b"\0")
        at, count = random.randrange(len(found)), random.choice((1, 2, 4, 8, 60, len(found)))
        match random.randrange(8):
            case 0:
                found[at] ^= 1 << random.randrange(8)
            case 1:
                found[at] = random.randrange(256)
            case 2:
                size = random.choice((1, 2, 4, 8))
                value = random.choice(INTEGERS) % 256**size
                found[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))
            case 3:
                found[at : at + 4] = struct.pack("<f", random.choice((np.nan, np.inf, 3e38, -1e30, 0.0, 1e-40)))
            case 4:
                del found[at : at + count]
            case 5:
                found[at:at] = found[at : at + count]
            case 6:
                found[at:at] = random.choice(WORDS)
            case 7:
                del found[at:]
    return bytes(found)


NUMBER_OR_GAP = re.compile(rb"[-+.\w]+|\s+")


def some_text(data: bytes, random: Random) -> bytes:
    """Words, numbers and what is between them changed."""
    for _ in range(random.choice((1, 1, 2, 5))):
        pieces = list(NUMBER_OR_GAP.finditer(data))
        if not pieces or random.random() < 0.2:
            data = some_bytes(data, random)
            continue
        piece = random.choice(pieces[:4] if random.random() < 0.3 else pieces)
        data = data[: piece.start()] + random.choice(WORDS) + data[piece.end() :]
    return data


def some_value(tree: Any, random: Random) -> Any:
    """A tree of JSON in which a part is another value, gone, doubled or under another name."""
    if not isinstance(tree, dict | list) or not tree or random.random() < 0.15:
        return _nested(random) if random.random() < 0.05 else random.choice(VALUES)
    if isinstance(tree, list):
        at = random.randrange(len(tree))
        changed = some_value(tree[at], random)
        return [*tree[:at], *random.choice(([changed], [changed], [], [tree[at]] * 2)), *tree[at + 1 :]]
    key = random.choice([*tree])
    match random.randrange(8):
        case 0:
            return {name: value for name, value in tree.items() if name != key}
        case 1:
            return {**tree, random.choice((f"{key}.0", "", "_target_", "x", key * 200)): tree[key]}
        case 2:
            return {**tree, key: tree[random.choice([*tree])]}
        case _:
            return {**tree, key: some_value(tree[key], random)}


def _nested(random: Random) -> Any:
    tree: Any = 1
    for _ in range(random.choice((50, 200))):
        tree = [tree] if random.random() < 0.5 else {"part": tree, "kind": "Unaligned"}
    return tree


def some_json(data: bytes, random: Random) -> bytes:
    """A JSON document with some values changed."""
    if random.random() < 0.1:
        return random.choice((b"[" * 100_000, b'{"a":' * 50_000, data[: len(data) // 2], b"", b"\xff" + data))
    if random.random() < 0.2:
        return some_text(data, random)
    tree = json.loads(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        tree = some_value(tree, random)
    return json.dumps(tree).encode()


def some_safetensors(data: bytes, random: Random) -> bytes:
    """Its header, of a length that is right or not, or its bytes."""
    if random.random() < 0.3:
        return some_bytes(data, random)
    length = int.from_bytes(data[:8], "little")
    header = some_json(data[8 : 8 + length], random)
    header += b" " * (-len(header) % 8)
    said = len(header) if random.random() < 0.9 else random.choice(INTEGERS)
    return said.to_bytes(8, "little") + header + data[8 + length :]


DTYPES = ("uint8", "int8", "int32", "int64", "float16", "float32", "float64", "bool")


def some_array(array: np.ndarray, random: Random) -> np.ndarray:
    """An array of another shape, type or values."""
    match random.randrange(6):
        case 0:
            return array.astype(random.choice(DTYPES))
        case 1:
            return array.reshape(-1)[: random.randrange(array.size + 1)]
        case 2:
            return array[: random.randrange(len(array) + 1)] if array.ndim else array
        case 3:
            return array.T
        case 4:
            return array[..., None]
        case _:
            found = array.copy()
            if found.size:
                limits = (0, 1, 255) if found.dtype.kind in "iub" else (np.nan, np.inf, 3e38, -3e38, 6e4, 0.0, 0.5)
                found.reshape(-1)[random.randrange(found.size)] = random.choice(limits)
            return found


def some_payload(data: bytes, random: Random) -> bytes:
    """Its arrays, what it says of them, or its bytes."""
    if random.random() < 0.2:
        return some_safetensors(data, random)
    length = int.from_bytes(data[:8], "little")
    said = json.loads(data[8 : 8 + length])["__metadata__"]["payload"].encode()
    arrays = load(data)
    if random.random() < 0.6:
        said = some_json(said, random)
    for _ in range(random.choice((0, 1, 1, 3))):
        name = random.choice([*arrays])
        match random.randrange(6):
            case 0:
                del arrays[name]
            case 1:
                arrays[random.choice((f"{name}.0", "more", "part.packed"))] = arrays[name]
            case _:
                arrays[name] = some_array(arrays[name], random)
        if not arrays:
            break
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(arrays, metadata={"payload": said.decode("utf-8", "replace")})


def some_npy(data: bytes, random: Random) -> bytes:
    """Its header, as text that is as long as before, or its bytes."""
    if random.random() < 0.4:
        return some_bytes(data, random)
    length = int.from_bytes(data[8:10], "little")
    header = some_text(data[10 : 10 + length].rstrip(), random)[:60_000]
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return data[:8] + len(header).to_bytes(2, "little") + header + data[10 + length :]


def some_zip(data: bytes, random: Random) -> bytes:
    """A member of it, or its bytes."""
    if random.random() < 0.3:
        return some_bytes(data, random)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice([*members])
    members[name] = (some_npy if name.endswith(".npy") else some_bytes)(members[name], random)
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(made := io.BytesIO(), "w", method) as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return made.getvalue()


def some_gzip(data: bytes, random: Random) -> bytes:
    """What is packed in it, or its bytes."""
    if random.random() < 0.4:
        return some_bytes(data, random)
    content = some_text(gzip.decompress(data), random)
    return gzip.compress(content * random.choice((1, 1, 1, 500)), 1)
