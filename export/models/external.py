"""Models whose tensors lie in a data file beside them."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import BinaryIO

import onnx

from eigenselect.export.models.scopes import tensors
from eigenselect.export.models.stored import is_external, nbytes, place
from eigenselect.export.operators.data_file import PAGE_BYTES, data_file, pad, point

EMBEDDED_BYTES = (1 << 31) - (1 << 26)
"""Tensors of one file may take so much: protocol buffers end at 2 GiB, and the graph itself needs room."""

SMALL_BYTES = 1 << 10
"""Tensors up to this stay in the model's own file."""

ALIGNED_BYTES = 1 << 6

COPY_BYTES = 1 << 24


def data_files(model: onnx.ModelProto, folder: Path) -> list[Path]:
    """The data files of a model that lies in `folder`.

    Raises:
        ValueError: one of them cannot be used (see `export.models.stored.place`).
    """
    return sorted({place(tensor, folder)[0] for tensor in tensors(model) if is_external(tensor)})


def write(model: onnx.ModelProto, folder: Path, path: Path, added: Container[str]) -> None:
    """Write to `path` a model whose data files, if any, lie in `folder`: their bytes are streamed, never held.

    Args:
        model: is changed to what is written.
        folder: where its data files are.
        path: where to; its data file, if it has one, lies beside it.
        added: names of the tensors that go to the data file where others are there; all do if they would not fit
            one file otherwise.
    """
    every = list(tensors(model))
    outside = [tensor for tensor in every if is_external(tensor)]
    if outside or sum(map(nbytes, every)) > EMBEDDED_BYTES:
        with data_file(path).open("wb") as data:
            _stream(outside, folder, path, data)
            for tensor in every:
                if len(tensor.raw_data) > SMALL_BYTES and (not outside or tensor.name in added):
                    offset = pad(data, 0, ALIGNED_BYTES)
                    length = data.write(tensor.raw_data)
                    tensor.ClearField("raw_data")
                    point(tensor, path, offset, length)
    path.write_bytes(model.SerializeToString())


def _stream(outside: list[onnx.TensorProto], folder: Path, path: Path, data: BinaryIO) -> None:
    """Copy the bytes of external tensors, in their order; those that share bytes go on doing so.

    Where one started on a page it still does, so that it can be memory-mapped.
    """
    starts: dict[tuple[Path, int, int], int] = {}
    for tensor in sorted(outside, key=lambda tensor: place(tensor, folder)):
        source, offset, length = at = place(tensor, folder)
        if at not in starts:
            starts[at] = pad(data, offset % PAGE_BYTES, PAGE_BYTES)
            with source.open("rb") as file:
                file.seek(offset)
                for start in range(0, length, COPY_BYTES):
                    data.write(file.read(min(COPY_BYTES, length - start)))
        point(tensor, path, starts[at], length)


def rename_data(model: onnx.ModelProto, name: str) -> None:
    """Say that what lies in a data file lies in one of that `name`, in the same places."""
    for tensor in filter(is_external, tensors(model)):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
