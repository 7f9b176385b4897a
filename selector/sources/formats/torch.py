"""torch checkpoints, `.pt`, `.pth` and `.bin`: tensors alone, by `torch.load` with `weights_only=True`.

What else a checkpoint holds could run code when it is read, and is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from eigenselect.compressors.words import brief, quoted
from eigenselect.selector.sources.format import Format, Tensor
from eigenselect.selector.sources.stream import ZIP_START, members

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What a file of torch before 1.6 starts with: the pickle of its magic number."""

NARROW = {
    "bfloat16": ("int16", ml_dtypes.bfloat16),
    "float8_e4m3fn": ("uint8", ml_dtypes.float8_e4m3fn),
    "float8_e5m2": ("uint8", ml_dtypes.float8_e5m2),
}
"""Type that NumPy lacks -> one of torch as wide, and the type of these bits."""


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, those in dictionaries of it under `outer.inner`; memory-mapped where it can be.

    Raises:
        ValueError: not a whole checkpoint, or one that holds more than tensors and plain values.
    """
    import torch

    with path.open("rb") as file:
        legacy = file.read(len(LEGACY)) == LEGACY
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=not legacy)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise ValueError(
                f"{path}: holds more than tensors, which could run code: save them alone, "
                "torch.save(model.state_dict(), NEW) or safetensors.torch.save_file"
            ) from error
        raise _not_whole(path, error) from error
    except Exception as error:  # of the archive, of the pickle's opcodes, of sizes: there are many
        raise _not_whole(path, error) from error
    return {
        name: Tensor(path, tuple(tensor.shape), _type(tensor), tensor.nbytes, partial(_array, path, name, tensor))
        for name, tensor in _flat(content)
        if tensor.layout == torch.strided and not tensor.is_quantized
    }


def _flat(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif hasattr(content, "is_quantized"):
        yield name or "tensor", content


def _type(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _array(path: Path, name: str, tensor: Any) -> npt.NDArray[Any]:
    import torch

    bits, dtype = NARROW.get(_type(tensor), (None, None))
    try:
        tensor = tensor.detach().contiguous()
        array: npt.NDArray[Any] = (tensor if bits is None else tensor.view(getattr(torch, bits))).numpy()
    except (TypeError, RuntimeError) as error:
        detail = brief(error)
        raise ValueError(f"{path}: {quoted(name)} holds {_type(tensor)} ({detail}): save it as float32") from error
    return array if dtype is None else array.view(np.dtype(dtype))


def _not_whole(path: Path, error: Exception) -> ValueError:
    detail = brief(error)
    return ValueError(f"{path}: not a whole torch checkpoint ({detail}): fetch or save it again")


def _starts(path: Path, head: bytes) -> bool:
    names = members(path) if head.startswith(ZIP_START) else []
    return head.startswith(LEGACY) or any(name.rpartition("/")[2] == "data.pkl" for name in names)


FORMAT = Format(name="torch", starts=_starts, tensors=tensors, files="pytorch_model*.bin", named=True)
