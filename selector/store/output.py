"""The output folder: a hand-over takes its place in one step, when it is whole, or nothing does."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from eigenselect.compressors.whole import MANIFEST, UNFINISHED, TakenError, held, hidden_name, settle, undisturbed

FILES = (
    "selection.json",
    "candidates.csv",
    "model.onnx",
    "model.onnx.data",
    "words.onnx",
    "host.onnx",
    "host.onnx.data",
    "sentences.onnx",
    "static_model/config.json",
    "static_model/tokenizer.json",
    "static_model/model.safetensors",
    "payload.safetensors",
    "tokens.txt",
    "id_map.csv",
    "decode_matrix.npy",
    "pareto.png",
    "report.html",
    MANIFEST,  # the last, where files are moved one by one
)
"""What a hand-over may consist of: some only where there is something to say, or where they are asked for."""

OF_TABLES = ("tables.json", "torchrec.json", "host.onnx", "host.onnx.data")
"""What a hand-over of many tables may consist of beside the folder of each."""

NEW, OTHERS = "new", "others"
"""In the working folder: what takes the place of `out`; the names of what is in `out` beside a hand-over."""


def files_of_tables(folders: Iterable[str]) -> list[str]:
    """What a hand-over of many tables may consist of, from the folders of the tables."""
    return [*OF_TABLES, *(f"{folder}/{name}" for folder in folders for name in FILES if "/" not in name)]


def check_kind(out: Path, *, many: bool) -> None:
    """Raise a ValueError where `out` holds a hand-over of many tables, and this one is of one; or the other way."""
    other, what = (MANIFEST, "one table") if many else (OF_TABLES[0], "many tables")
    if (out / other).exists():
        raise ValueError(f"out = {out} holds a hand-over of {what}, {other}: name another folder, or move it away")


def check_writable(out: Path, files: Sequence[str] = FILES) -> None:
    """Raise a ValueError unless `files` can be put into the folder `out`, which need not exist yet."""
    try:
        if out.is_symlink() and not out.exists():
            raise ValueError(f"out = {out} is a link to {out.readlink()}, which is not there: name a folder")
        if out.exists() and not out.is_dir():
            raise ValueError(f"out = {out} is a file: name a folder")
        if in_the_way := [name for name in files if (out / name).is_dir()]:
            raise ValueError(f"out = {out} has a folder {in_the_way[0]}: move it away, or name another")
        if in_the_way := [name for name in _folders(files) if (out / name).is_file()]:
            raise ValueError(f"out = {out} has a file {in_the_way[0]}: move it away, or name another")
        with _working_folder(out):
            pass
    except OSError as error:
        raise ValueError(f"out = {out} cannot be written: {error.strerror}; name a folder you may write to") from error


def check_room(out: Path, nbytes: int) -> None:
    """Raise a ValueError unless `nbytes` more can be written where `out` is."""
    out = out.resolve()
    free = shutil.disk_usage(next(folder for folder in (out, *out.parents) if folder.exists())).free
    if free < nbytes:
        raise ValueError(
            f"out = {out}: {free:,} bytes are free there, the hand-over may take {nbytes:,}: make room, or name a "
            "folder on another disk"
        )


@contextmanager
def staged(out: Path, files: Sequence[str] = FILES) -> Iterator[Path]:
    """A folder to write `files` to: it takes the place of `out` when the block ends well, else nothing does.

    Other files of `out` are in the new one too; those of `files` that were not written are not.

    Raises:
        TakenError: another process is at it.
    """
    out = out.resolve()
    with _working_folder(out) as folder:
        new = folder / NEW
        new.mkdir()
        with _temporary_files(folder):
            yield new
        settle(new, *new.rglob("*"))
        with undisturbed():
            if not out.exists():
                new.rename(out)
                settle(out.parent)
                return
            others = [name for name in _others(out, files) if name not in (UNFINISHED, folder.name)]
            (folder / OTHERS).write_text(json.dumps(others), encoding="utf-8")
            if not _exchanged(new, out):
                _move(new, out, files)
            settle(out.parent, out)


def tidy(out: Path) -> None:
    """Remove what a process that was killed has left of its work on `out`; of one that works on it nothing."""
    with suppress(TakenError, OSError):
        if (out.parent / hidden_name(out)).exists() or (out / hidden_name(out)).exists():
            with _working_folder(out):
                pass


@contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Temporary files of this process lie in `folder` meanwhile: what a kill leaves of them goes with it."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _working_folder(out: Path) -> Iterator[Path]:
    """The working folder of `out`: beside it, or in it where only that can be; with the folders above that it needs."""
    out = out.resolve()
    parent = _place(out)
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    folder = parent / hidden_name(out)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with held(folder, out, lambda: _rescue(folder, out)):
            yield folder
    finally:
        for created in missing:
            with suppress(OSError):  # not empty: `out` is in it
                created.rmdir()


def _place(out: Path) -> Path:
    """Where the working folder is, and what else is kept for `out`."""
    inside = out.is_dir() and (os.path.ismount(out) or not os.access(out.parent, os.W_OK))
    return out if inside else out.parent


def journal_of(out: Path) -> Path:
    """The file of what could not be logged of a run that writes `out`."""
    out = out.resolve()
    return _place(out) / f"{hidden_name(out)}.jsonl"


def _folders(files: Sequence[str]) -> set[str]:
    """Those that `files` lie in, beside `out` itself."""
    return {str(Path(name).parent) for name in files} - {"."}


def _others(out: Path, files: Sequence[str]) -> Iterator[str]:
    """What is in `out` beside `files`, whose folders are looked into."""
    inner = _folders(files)
    for place in (".", *inner):
        if (out / place).is_dir():
            names = (str(Path(place) / entry.name) for entry in (out / place).iterdir())
            yield from (name for name in names if name not in files and name not in inner)


def _rescue(folder: Path, out: Path) -> None:
    """What was in `out` beside the hand-over that had to make room, back to it."""
    if (folder / OTHERS).exists():
        for name in json.loads((folder / OTHERS).read_text(encoding="utf-8")):
            if os.path.lexists(folder / NEW / name):
                (out / name).parent.mkdir(exist_ok=True)
                (folder / NEW / name).rename(out / name)


def _exchanged(new: Path, out: Path) -> bool:
    """Let two folders trade places in one step; False where that cannot be, and nothing has changed."""
    mine, other = new.stat(), out.stat()
    if (mine.st_uid, mine.st_gid) != (other.st_uid, other.st_gid) or os.path.samestat(other, Path().stat()):
        return False
    shutil.copymode(out, new)
    try:
        renameat2 = ctypes.CDLL(None).renameat2  # of Linux; Python has no name for it
    except (AttributeError, OSError, TypeError):
        return False
    at_cwd, exchange = -100, 2
    return bool(renameat2(at_cwd, os.fsencode(new), at_cwd, os.fsencode(out), exchange) == 0)


def _move(new: Path, out: Path, files: Sequence[str]) -> None:
    """Replace `files` one by one; whoever reads them meanwhile, or after a kill, is warned by a file beside them."""
    (out / UNFINISHED).touch()
    for name in files:
        if (new / name).exists():
            (out / name).parent.mkdir(exist_ok=True)
            (new / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)
    for inner in _folders(files):
        with suppress(OSError):  # not empty, or not there
            (out / inner).rmdir()
    (out / UNFINISHED).unlink()
