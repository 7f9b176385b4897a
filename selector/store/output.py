"""The output folder: complete or untouched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from eigenselect.selector.store.manifest import MANIFEST

FILES = (
    "selection.json",
    "candidates.csv",
    "model.onnx",
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
    MANIFEST,  # moved last: a move that is cut short leaves files that the manifest in the folder does not describe
)
"""What a hand-over may consist of: some only where there is something to say, or where they are asked for."""


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
def staged(out: Path, files: Sequence[str] = FILES) -> Iterator[Path]:
    """A folder to write `files` to; they move into `out` when the block ends well, else nothing does.

    Those of `files` that were not written are removed from `out`; its other files stay as they are.
    """
    with _beside(out) as folder:
        yield folder
        out.mkdir(exist_ok=True)
        for name in files:
            if (folder / name).exists():
                (out / name).parent.mkdir(exist_ok=True)
                (folder / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)  # of an earlier hand-over
        for inner in {(out / name).parent for name in files} - {out}:
            with suppress(OSError):  # not empty, or not there
                inner.rmdir()
