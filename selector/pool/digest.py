"""Digests that say whether two results may stand for each other, and the names of methods in records."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from eigenselect import compressors
from eigenselect.compressors import Compressor, EmbeddingTable, Payload
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
    return _digest_of_files(path for folder in folders for path in folder.rglob("*.py"))


def _digest_of_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def method_name(method: type[Compressor]) -> str:
    """What a record calls a method: one of ours by the name of its class, any other by the qualified name.

    >>> method_name(compressors.Uniform)
    'Uniform'
    """
    ours = vars(compressors).get(method.__name__) is method
    return method.__name__ if ours else f"{method.__module__}.{method.__qualname__}"


def source_digest(compressor: Compressor) -> str:
    """SHA-256 of the sources from outside that a compressor and those nested in it rest on.

    These are, of each class, the file of its module and, where that belongs to a package, every `.py` file of the
    top-level package; likewise of its base classes, and of the methods and payload kinds that its module holds. Ours
    are in `code_digest`. What such code imports beyond that, and data that it reads, is not seen.

    A class without a source file (of a REPL, of a notebook) gives another digest each time, and says so once: what
    cannot be compared is never reused.
    """
    digests = [_class_digest(method) or secrets.token_hex() for method in _methods(compressor)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _methods(compressor: Compressor) -> Iterator[type[Compressor]]:
    """The class of the compressor, and of each that is nested in it."""
    yield type(compressor)
    for field in fields(compressor):  # type: ignore[arg-type]  # every compressor is a dataclass
        if isinstance(value := getattr(compressor, field.name), Compressor):
            yield from _methods(value)


@cache
def _class_digest(method: type[Compressor]) -> str | None:
    """The digest of the sources of one class, None without any. A module that is loaded again has another class."""
    held = vars(sys.modules[method.__module__]).values() if method.__module__ in sys.modules else ()
    kinds = {each for each in held if isinstance(each, type) and issubclass(each, Compressor | Payload)}
    modules = {kind.__module__ for kind in kinds.union(method.__mro__)}
    inside = {compressors.__name__.partition(".")[0], *sys.stdlib_module_names}
    files = [_files(module) for module in sorted(modules) if module.partition(".")[0] not in inside]
    if not all(files):
        print(f"{method_name(method)} has no source file: its candidates are computed in every run", file=sys.stderr)
        return None
    return _digest_of_files(set().union(*files))


def _files(module: str) -> set[Path]:
    """The source files of a module and its top-level package, none when the module has no file of its own."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not Path(file).is_file():
        return set()
    folders = getattr(sys.modules.get(module.partition(".")[0]), "__path__", ())
    return {Path(file), *(path for folder in folders for path in Path(folder).rglob("*.py"))}


def candidate_key(
    compressor: str, parameters: dict[str, Any], source: str, table: str, seed: int, measured: Any
) -> str:
    """What a finished candidate is found again by: all that its scores rest on.

    Args:
        compressor: `method_name` of its class.
        parameters: its settings.
        source: its `source_digest`.
        table: digest of the table.
        seed: of the compression.
        measured: settings of the measures.
    """
    identity = [compressor, parameters, source, table, seed, [str(value) for value in measured], code_digest()]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
