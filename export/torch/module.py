"""A compressed table as a torch module, in the place of an `nn.Embedding`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from inspect import signature
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import embedding, embedding_bag, pad

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.ops import NO_ROW, VERBS, Ops
from eigenselect.compressors.payloads.torch_ops import TorchOps
from eigenselect.export.operators.functions import DOMAIN
from eigenselect.export.operators.trellis import trellis_name

IDS = "ids"

HAS_TRITON = find_spec("triton") is not None


class Bags(NamedTuple):
    """What a module sums by.

    Attributes:
        offsets: (b,) int64, where each bag begins.
        weights: (t,) of the rows, or None.
    """

    offsets: torch.Tensor
    weights: torch.Tensor | None


class _Recorder:
    """Notes the verbs of a decode instead of executing them; a value is its name, as in a graph.

    Attributes:
        params: stored arrays by name, with `_` for the `.` that a buffer's name may not have.
        steps: in their order (name of the result, verb, operands); an operand that is a string is the name of a value.
    """

    def __init__(self, prefix: str = "", of: _Recorder | None = None) -> None:
        self.params: dict[str, npt.NDArray[Any]] = of.params if of else {}
        self.steps: list[tuple[str, str, tuple[Any, ...]]] = of.steps if of else []
        self._prefix = prefix

    def scope(self, name: str) -> _Recorder:
        return _Recorder(f"{self._prefix}{name}.", self)

    def param(self, name: str, array: npt.NDArray[Any]) -> str:
        name = f"{self._prefix}{name}".replace(".", "_")
        self.params[name] = array
        return name

    def __getattr__(self, verb: str) -> Callable[..., str]:
        if verb not in VERBS:
            raise AttributeError(f"{verb!r} is not a verb of a decode: there are {', '.join(sorted(VERBS))}")
        bind = signature(getattr(Ops, verb)).bind

        def note(*operands: Any, **named: Any) -> str:
            return self._note(verb, bind(self, *operands, **named).args[1:])

        return note

    def _note(self, verb: str, operands: tuple[Any, ...]) -> str:
        result = str(len(self.steps))
        self.steps.append((result, verb, operands))
        return result


class _ModuleOps(TorchOps):
    """Rows by embedding's own lookup, which is faster than indexing: ids below 0 do not count from the end."""

    def trellis_gather(self, packed: Any, levels: Any, rows: Any, bits: int, dim: int) -> Any:
        picked = embedding(rows, packed)
        return super().trellis_gather(picked, levels, slice(None), bits, dim)

    def gather(self, table: Any, rows: Any) -> Any:
        return embedding(rows, table).float()

    def dequantize_gather(self, packed: Any, lut: Any, rows: Any, dim: int) -> Any:
        return embedding(embedding(rows, packed).int(), lut).flatten(-2)[..., :dim]

    def sum_bags(self, a: Any, bags: Any) -> Any:
        order = torch.arange(len(a), device=a.device)
        weights = None if bags.weights is None else bags.weights.float()
        return embedding_bag(order, a, bags.offsets, mode="sum", per_sample_weights=weights)


class _TritonOps(_ModuleOps):
    """Packed rows by one kernel."""

    def dequantize_gather(self, packed: Any, lut: Any, rows: Any, dim: int) -> Any:
        from eigenselect.export.torch.triton_kernel import (
            dequantize_gather,  # here, because triton is only there with CUDA
        )

        return dequantize_gather(packed, lut, rows, dim)


class _OnnxOps(_ModuleOps):
    """Packed rows by our operators, which `torch.onnx.export` leaves as it is; bags as in our own models."""

    def sum_bags(self, a: Any, bags: Any) -> Any:
        rows = a if bags.weights is None else a * bags.weights[:, None]
        totals = pad(rows.double(), (0, 0, 1, 0)).cumsum(0)
        ends = torch.cat([bags.offsets[1:], torch.full((1,), a.shape[0])])
        return (totals[ends] - totals[bags.offsets]).float()

    def dequantize_gather(self, packed: Any, lut: Any, rows: Any, dim: int) -> Any:
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::DequantizeGather",
            (packed, lut, rows),
            {"dim": dim},
            dtype=lut.dtype,
            shape=(*rows.shape, dim),
            version=1,
        )

    def trellis_gather(self, packed: Any, levels: Any, rows: Any, bits: int, dim: int) -> Any:
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{trellis_name(bits, len(levels).bit_length() - 1)}",
            (packed, levels, rows),
            {"dim": dim},
            dtype=levels.dtype,
            shape=(*rows.shape, dim),
            version=1,
        )


TORCH, TRITON, ONNX = _ModuleOps(), _TritonOps(), _OnnxOps()


class CompressedEmbedding(nn.Module):  # type: ignore[misc]  # torch has types that are not followed
    """Looks ids up in a compressed table as `nn.Embedding` does in a weight; nothing in it is trained.

    The stored arrays are buffers with the payload's names (`_` for `.`): a `lut` in place of a `codebook`. A change of
    the dtype, by `.half()` or `.to()` of this or of any module around it, is a change of the output's: codes and
    codebooks keep their own, and values are decoded in float32 whatever is asked for, under autocast too.

    Attributes:
        num_embeddings: rows n.
        embedding_dim: columns k.
        padding_idx: as given, from 0 on. Its row is looked up as any other, as in `nn.Embedding`.
        dtype: of the output.

    Example:
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> words = CompressedEmbedding(Dense(np.array([[1, 2], [3, 4]], np.float16)))
        >>> words(torch.tensor([1, 0]))
        tensor([[3., 4.],
                [1., 2.]])
    """

    def __init__(
        self,
        payload: Payload,
        padding_idx: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take the arrays of `payload`, copied to `device`.

        Raises:
            ValueError: a padding_idx outside of -n..n-1, or a dtype that is not floating-point.
        """
        super().__init__()
        n = payload.n
        if padding_idx is not None and not -n <= padding_idx < n:
            raise ValueError(f"padding_idx = {padding_idx}: it must be from {-n} to {n - 1}")
        if not dtype.is_floating_point:
            raise ValueError(f"dtype = {dtype}: it must be a floating-point type")
        self.num_embeddings, self.embedding_dim = n, payload.k
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % n
        self.dtype = dtype
        recorder = _Recorder()
        self._rows = self._vectors(payload, cast(Ops[str], recorder))  # which has the verbs by their names
        self._steps = tuple(recorder.steps)
        for name, array in recorder.params.items():
            # A copy: what is loaded into the buffer must not change the payload.
            self.register_buffer(name, torch.from_numpy(np.array(array, order="C")).to(device))

    def _vectors(self, payload: Payload, ops: Ops[str]) -> str:
        """What the module gives of `IDS`, in the verbs that it executes."""
        return payload.decode(IDS, ops)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows `ids`, int32 or int64 of any shape, as (*ids.shape, k).

        Raises:
            IndexError: an id below 0 or above n - 1. On CUDA it is a device-side assertion instead, and compiled by
                inductor that of the compiled kernel, as of an `nn.Embedding`. Exported to ONNX, ids from -n to -1 count
                from the end.
            ValueError: ids of another type.
        """
        return self._looked_up(ids)

    def _looked_up(self, ids: torch.Tensor, **given: Any) -> torch.Tensor:
        """What the verbs give of `ids`, and of what else is `given` to them by name."""
        if ids.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"ids are {ids.dtype}: they must be torch.int32 or torch.int64")
        if torch.onnx.is_in_onnx_export():
            return self._decode(ids, ONNX, given)
        # Too large an id is an error in every kind of payload; one below 0 would count from the end.
        checked = torch.where(ids < 0, NO_ROW, ids.long())
        # A compiler fuses the verbs into a kernel of its own.
        ops = TRITON if not torch.compiler.is_compiling() and self.kernel == "triton" else TORCH
        try:
            return self._decode(checked, ops, given)
        except IndexError as error:
            raise IndexError(
                f"ids are from {ids.min().item()} to {ids.max().item()}: they must be from 0 to "
                f"{self.num_embeddings - 1}"
            ) from error

    def _decode(self, ids: torch.Tensor, ops: TorchOps, given: Mapping[str, Any]) -> torch.Tensor:
        values: dict[str, Any] = {IDS: ids, **given, **self._buffers}
        device = ids.device.type
        rounding = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False) if rounding else nullcontext():
            for result, verb, operands in self._steps:
                values[result] = getattr(ops, verb)(*(values[o] if isinstance(o, str) else o for o in operands))
        return values[self._rows].to(self.dtype)

    @property
    def kernel(self) -> str:
        """What looks packed rows up: `triton` on CUDA where triton is installed, otherwise `torch`."""
        on_cuda = all(buffer.is_cuda for buffer in self.buffers())
        return "triton" if HAS_TRITON and on_cuda and self._lookups() else "torch"

    @property
    def padded(self) -> bool:
        """Whether some packed rows hold more columns than are wanted of them."""
        codes = [operands for _, verb, operands in self._steps if verb == "trellis_gather"]
        columns = [(self.get_buffer(packed).shape[1] * 8 // bits, dim) for packed, _, _, bits, dim in codes]
        columns += [(packed.shape[1] * lut.shape[1], dim) for packed, lut, dim in self._lookups()]
        return any(dim < stored for stored, dim in columns)

    def _lookups(self) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
        """Packed rows, lookup table and columns of each lookup."""
        operands = [operands for _, verb, operands in self._steps if verb == "dequantize_gather"]
        return [(self.get_buffer(packed), self.get_buffer(lut), dim) for packed, lut, _, dim in operands]

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> CompressedEmbedding:
        """What every move of a module goes through: devices are followed, dtypes by the output alone."""

        def moved(buffer: torch.Tensor) -> torch.Tensor:
            there = fn(buffer)
            return there if there.dtype == buffer.dtype else buffer.to(there.device)

        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        super()._apply(moved, recurse)
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            raise AttributeError(
                f"{type(self).__name__} has no weight, the table is never there as a whole: decode rows with "
                "module(ids), and give a head that was tied to it a weight of its own"
            )
        return super().__getattr__(name)

    def extra_repr(self) -> str:
        """As `nn.Embedding` says it, with the bytes held and what looks rows up."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return (
            f"{self.num_embeddings}, {self.embedding_dim}{padding}, dtype={self.dtype}, nbytes={self.nbytes}, "
            f"kernel={self.kernel}"
        )
