"""Digests that say whether two results may stand for each other."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from eigenselect import compressors
from eigenselect.compressors import EmbeddingTable
from eigenselect.selector import measures


def table_digest(table: EmbeddingTable) -> str:
    """SHA-256 of shape, dtype, rows, tokens and counts: of the contents, whatever file format held them."""
    digest = hashlib.sha256(f"{table.vectors.shape} {table.vectors.dtype.name}\n".encode())
    for block in table.blocks():
        digest.update(np.ascontiguousarray(block).data)
    for token in table.tokens or ():
        encoded = token.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded) + encoded)
    if table.counts is not None:
        digest.update(b"counts\n" + table.counts.tobytes())
    return digest.hexdigest()


@cache
def code_digest() -> str:
    """SHA-256 of the sources that a score depends on: the compressors and the measures."""
    folders = [Path(package.__file__).parent for package in (compressors, measures) if package.__file__]
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def candidate_key(compressor: str, parameters: dict[str, Any], table: str, seed: int, measured: Any) -> str:
    """What a finished candidate is found again by: its settings, the table, the seed, what is measured, the code."""
    identity = [compressor, parameters, table, seed, [str(value) for value in measured], code_digest()]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
