"""The sums over a table that its candidates share, kept on disk under its digest: later runs take them from there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from eigenselect.compressors.data.arrays import Array
from eigenselect.compressors.data.table import Table
from eigenselect.selector.pool.digest import code_digest

LEAST = 1 << 26
"""Bytes of a float32 table from which reading it again takes longer than it takes to look here."""

MOST = 1 << 30
"""Bytes that all files may take together: those that were used longest ago go."""


@contextmanager
def remembered(table: Table, digest: str, device: str | None = None) -> Iterator[None]:
    """The table knows the sums that an earlier run left, and leaves those that it has made meanwhile.

    They are in `eigenselect/sums` of the user's cache folder (`XDG_CACHE_HOME`, or `~/.cache`), each table's in a file
    of its own. Where nothing can be written, or a file is damaged, they are made again.

    Args:
        table: the table.
        digest: its `table_digest`.
        device: what makes the sums, as `Search` has it.
    """
    if 4 * table.n * table.d < LEAST or (where := folder()) is None:
        yield
        return
    path = where / f"{_key(digest, device)}.npz"
    known = _read(path)
    table.take(known)
    yield
    if (found := table.sums()).keys() != known.keys():
        with suppress(OSError):
            _write(path, found)
            _drop_oldest(where)


def folder() -> Path | None:
    """Where they are kept; None for a user without a home."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return cache / "eigenselect" / "sums"


def _key(digest: str, device: str | None) -> str:
    """What sums are the same to the bit for: the table, our code, and what computes products here."""
    blas = [
        (library["internal_api"], library["version"], library.get("architecture"))
        for library in ThreadpoolController().info()
        if library["user_api"] == "blas"
    ]
    identity = [digest, code_digest(), np.__version__, sorted(map(str, blas)), device]
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def _read(path: Path) -> dict[str, Array]:
    """The arrays of a file, whose check sums hold; none where there is no such file."""
    try:
        os.utime(path)
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # there is none, or it is damaged, for which numpy and zipfile have a dozen classes
        return {}


def _write(path: Path, sums: dict[str, Array]) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            np.savez(file, **sums)  # type: ignore[arg-type]  # numpy's types take its own option for one of the names
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _drop_oldest(where: Path) -> None:
    files = sorted(((each.stat(), each) for each in where.iterdir()), key=lambda pair: -pair[0].st_mtime)
    taken = 0
    for found, file in files:
        taken += found.st_size
        if taken > MOST:
            file.unlink(missing_ok=True)
