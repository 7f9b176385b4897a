"""ONNX models: the embedding table of one, read out of it."""

from __future__ import annotations

from pathlib import Path

from eigenselect.export.models.reader import embedding_rows, table_shapes
from eigenselect.selector.sources.format import Format, Found

NEXT = (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42")
"""Tags that follow ir_version at the start of an ONNX file (protobuf fields 2 to 8)."""


def _starts(path: Path, head: bytes) -> bool:
    return len(head) > 2 and head[0] == 8 and 1 <= head[1] <= 32 and head[2:3] in NEXT


FORMAT = Format(
    name="onnx",
    starts=_starts,
    read=lambda request: Found(embedding_rows(request.path, request.tensor)),
    tables=table_shapes,
    files="*.onnx",
    named=True,
)
