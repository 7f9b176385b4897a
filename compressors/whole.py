"""Files that appear whole or not at all, written by one process at a time; and what shows that they are not whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from eigenselect.compressors.words import NAME, brief

MANIFEST = "manifest.json"
"""Beside files that were handed over: it lists each with its size and SHA-256."""

UNFINISHED = ".eigenselect-unfinished"
"""In a folder whose files are being moved one by one: while it is there they are not of one hand-over."""

LONGEST = 255
"""Bytes of the name of a file."""

OWNER = "owner"
"""File of a working folder, which its process has locked and which says whose it is."""


class TakenError(ValueError):
    """Another process writes what this one was asked to write."""


def inside(folder: Path, name: Any) -> Path:
    """The file or folder of that name in `folder`.

    Raises:
        ValueError: what a file of a stranger names is not in it, or is not a name.
    """
    parts = Path(name).parts if isinstance(name, str) and name.isprintable() else ("..",)
    if Path(*parts).is_absolute() or ".." in parts or any(len(part.encode()) > LONGEST for part in parts):
        raise ValueError(f"{folder} names {brief(repr(name), NAME)}: what belongs to it lies inside of it")
    return folder / str(name)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that ask to stop are heard when the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        late.append(number)

    before = {number: signal.signal(number, wait) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if late:
            signal.raise_signal(late[0])


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same `path`, a file that is there meanwhile."""
    while True:
        file = path.open("a", encoding="utf-8")
        _lock(file, wait=True)
        if _is_at(file, path):
            break
        file.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def settle(*paths: Path) -> None:
    """Have the disk hold files, and the names in folders, before anything that follows: after a power failure too."""
    for path in paths:
        with suppress(OSError):  # a file system without it, and folders on Windows
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same `path`, a file that is only read."""
    try:
        file = path.open("rb")
    except OSError:  # of a function that was typed in, or lies in an archive
        yield
        return
    with file:
        _lock(file, wait=True)
        yield


def hidden_name(out: Path) -> str:
    """Name of the working folder of `out`: short, whatever the name of `out`."""
    return f".eigenselect-{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:12]}"


@contextmanager
def held(folder: Path, out: Path, rescue: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A working folder that no other process has meanwhile; gone afterwards, with what is in it.

    What a process that was killed has left in it is removed first.

    Args:
        folder: the same for all who write `out`; the one above it is there.
        out: what is written.
        rescue: takes out of the folder what must not be removed with it.

    Raises:
        TakenError: another process has it.
        OSError: it cannot be made.
    """
    owner = _locked(folder, out)
    try:
        _empty(folder, rescue)
        yield folder
    finally:
        with undisturbed():
            _empty(folder, rescue)
            (folder / OWNER).unlink()
            with suppress(OSError):  # another process waits in it
                folder.rmdir()
            owner.close()


def _empty(folder: Path, rescue: Callable[[], None]) -> None:
    rescue()
    for entry in folder.iterdir():
        if entry.name != OWNER:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _locked(folder: Path, out: Path) -> IO[str]:
    """The owner's file of a working folder, locked until it is closed or this process ends, however it does."""
    path = folder / OWNER
    while True:
        folder.mkdir(exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:  # the process before has just removed the folder
            continue
        try:
            _lock(file)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read() or "another process"
            file.close()
            raise TakenError(
                f"out = {out} is being written by {owner}: wait until it is done, or give another out"
            ) from error
        if _is_at(file, path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            return file
        file.close()


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still there: a process that had the lock before may have removed it since."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _lock(file: IO[str] | IO[bytes], *, wait: bool = False) -> None:
    try:
        import fcntl
    except ImportError:  # there are no such locks on Windows
        return
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def fingerprint(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def check_whole(folder: Path) -> None:
    """Raise a ValueError where files of a hand-over were being moved into `folder` when that was cut short."""
    if (folder / UNFINISHED).exists():
        raise ValueError(
            f"{folder} is not whole: its files were being replaced when that was cut short; run the selection again"
        )


def check_listed(path: Path) -> None:
    """Raise a ValueError unless a file is as the manifest beside it says, if there is one that lists it."""
    check_whole(path.parent)
    try:
        listed = json.loads((path.parent / MANIFEST).read_bytes())["files"][path.name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # not of a hand-over
    if fingerprint(path)["sha256"] != listed:
        raise ValueError(
            f"{path} is not the file that {path.parent / MANIFEST} lists: the folder is not whole, or was changed; "
            "select again, or take the file out of the folder if it is to be used by itself"
        )
