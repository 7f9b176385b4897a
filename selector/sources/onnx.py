"""ONNX models: the embedding table of one, read out of it."""

from __future__ import annotations

from pathlib import Path

from eigenselect import export
from eigenselect.compressors.data.table import Floats


def read(path: Path, tensor: str | None = None) -> Floats:
    """Read a table that a model looks up; see `export.embedding_table`."""
    return export.embedding_table(path, tensor)
