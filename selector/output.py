"""The output folder: complete or untouched."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILES = (
    "selection.json",
    "candidates.csv",
    "model.onnx",
    "host.onnx",
    "host.onnx.data",
    "payload.safetensors",
    "tokens.txt",
    "id_map.csv",
    "decode_matrix.npy",
    "pareto.png",
    "report.html",
)
"""What a hand-over consists of; `tokens.txt` only when the tokens are known, `id_map.csv` only of a pruned table,
`host.onnx` only where there is a host, with its data file if that has one."""


def check_writable(out: Path) -> None:
    """Raise a ValueError unless files can be put into the folder `out`, which need not exist yet."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out = {out} is a file: name a folder")
    try:
        with _beside(out):
            pass
    except OSError as error:
        raise ValueError(f"out = {out} cannot be written: {error.strerror}; name a folder you may write to") from error


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as `out`, gone afterwards, with the folders it needs."""
    parent = out if out.is_dir() else out.resolve().parent
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    folder = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".eigenselect-", dir=parent))
        yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for created in missing:
            with suppress(OSError):  # not empty: `out` is in it
                created.rmdir()


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write the hand-over to; its files move into `out` when the block ends well, else nothing does.

    Files of `out` that are not part of a hand-over stay as they are.
    """
    with _beside(out) as folder:
        yield folder
        out.mkdir(exist_ok=True)
        for name in FILES:
            if (folder / name).exists():
                (folder / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)  # of an earlier hand-over


def write_id_map(path: Path, source_rows: npt.NDArray[np.int64], tokens: Sequence[str]) -> None:
    """Where each row of a pruned table was in its file, as CSV: the new id, the (n,) old one, the token."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "source_id", "token"])
        writer.writerows(zip(range(len(tokens)), source_rows.tolist(), tokens, strict=True))
