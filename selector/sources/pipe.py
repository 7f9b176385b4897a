"""Pipes, `/dev/stdin` and `<(...)`: read once, into a temporary file that any reader can go over twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_pipe(path: Path) -> bool:
    """Whether what is at `path` can be read once only."""
    return path.is_fifo() or path.is_socket()


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """The path; or, of a pipe, that of a file with all that came through it, which is gone afterwards.

    Raises:
        ValueError: nothing came through the pipe; and errors of the `with` name the pipe and not the file.
    """
    if not is_pipe(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="eigenselect-") as folder:
        file = Path(folder) / "pipe"
        with path.open("rb") as pipe, file.open("wb") as written:
            shutil.copyfileobj(pipe, written, 1 << 20)
        if not file.stat().st_size:
            raise ValueError(f"{path}: nothing came through the pipe: see what writes to it")
        try:
            yield file
        except ValueError as error:
            raise ValueError(str(error).replace(str(file), str(path))) from error
