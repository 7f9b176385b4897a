"""GGUF, the models of llama.cpp: through the `gguf` package, `pip install 'eigenselect[gguf]'`.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from eigenselect.compressors.data.stored import Floats, Rows, StoredRows
from eigenselect.compressors.words import brief, quoted
from eigenselect.selector.sources.format import Format, Found, Numbers, Request, Tensor
from eigenselect.selector.sources.tensors import table_of
from eigenselect.selector.sources.vocabulary import with_tokens

START = re.compile(rb"GGUF.\0\0\0", re.DOTALL)

TOKENS = "tokenizer.ggml.tokens"
"""The key of the vocabulary."""


def read(request: Request) -> Found:
    """The input embedding of a model, and its tokens. What is quantized is dequantized where it is read.

    Raises:
        ValueError: the `gguf` package is not installed; not a whole model; no table, or several.
    """
    reader = _open(request.path)
    found = table_of(request.path, _tensors(request.path, reader), request.tensor)
    field = reader.get_field(TOKENS)
    return found if field is None else with_tokens(found, dict(enumerate(field.contents())), request.tensor)


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a model, memory-mapped."""
    return _tensors(path, _open(path))


def _open(path: Path) -> Any:
    try:
        library = import_module("gguf")
    except ImportError as error:
        raise ValueError(f"{path}: a GGUF model: pip install 'eigenselect[gguf]' reads it") from error
    try:
        return library.GGUFReader(path)
    except Exception as error:  # cut files give an IndexError, an OverflowError and others
        detail = brief(error)
        raise ValueError(f"{path}: not a whole GGUF model ({detail}): fetch it again") from error


def _tensors(path: Path, reader: Any) -> dict[str, Tensor]:
    return {
        tensor.name: Tensor(
            path,
            tuple(int(size) for size in reversed(tensor.shape)),
            tensor.tensor_type.name,
            int(tensor.n_bytes),
            partial(_numbers, path, tensor),
        )
        for tensor in reader.tensors
    }


def _numbers(path: Path, tensor: Any) -> Numbers:
    quants = import_module("gguf.quants")
    data = tensor.data
    if data.dtype != np.uint8:
        numbers: Numbers = data
        return numbers
    if (kind := tensor.tensor_type).name != "BF16" and kind not in quants._type_traits:
        raise ValueError(
            f"{path}: {quoted(tensor.name)} holds {kind.name}, which gguf does not dequantize: take a Q8_0 file"
        )

    def make(rows: Rows) -> Floats:
        made: Floats = quants.dequantize(np.ascontiguousarray(data[rows]), kind)
        return made

    shape = tuple(int(size) for size in reversed(tensor.shape))
    return StoredRows(shape, np.dtype(np.float32), make, kind.name, int(tensor.n_bytes))


FORMAT = Format(
    name="gguf",
    starts=lambda path, head: START.match(head) is not None,
    read=read,
    tensors=tensors,
    files="*.gguf",
    named=True,
)
