"""Compressed embeddings in the place of a model's `nn.Embedding`s and `nn.EmbeddingBag`s."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.compressors.methods.uniform import Uniform
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Replaced
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.export.host.match import NEARER_SHARE, nearer_share
from eigenselect.export.torch.bag import MODES, CompressedEmbeddingBag
from eigenselect.export.torch.module import CompressedEmbedding


@dataclass(frozen=True)
class Replacement:
    """What was replaced.

    Attributes:
        names: under which the model holds the module.
        nbytes_before: of the weight.
        nbytes_after: of the buffers that take its place.
    """

    names: tuple[str, ...]
    nbytes_before: int
    nbytes_after: int


def replace_embeddings(
    model: nn.Module,
    payload: Payload | None = None,
    *,
    bits: int | None = None,
    names: Collection[str] | None = None,
) -> list[Replacement]:
    """Put `CompressedEmbedding`s in the place of `nn.Embedding`s, in `model` itself, all or none.

    A `CompressedEmbeddingBag` takes the place of an `nn.EmbeddingBag`, whose mode it keeps.

    Device, dtype, training mode and padding_idx are kept, and the row at padding_idx stays what it was, in float32.
    A module that the model holds in several places is replaced by one. What was trained is trained no longer.

    Args:
        model: holds them at any depth.
        payload: of the table that one of them holds; that one is replaced. It is found by shape and by values.
        bits: without a payload: each is compressed by uniform quantization, 1 to 8 bits an entry.
        names: of the modules to look at; all without.

    Returns:
        What was replaced, in the model's order.

    Raises:
        ValueError: not one of payload and bits, an unknown name, no embedding or not exactly one that the payload
            fits, or one that cannot be replaced: its weight is tied or computed, it has hooks, renormalizes
            (max_norm), takes the largest of a bag, or is of a class with a forward of its own.

    Example:
        >>> model = nn.Sequential(nn.Embedding(1000, 64), nn.Linear(64, 2))
        >>> (made,) = replace_embeddings(model, bits=4)
        >>> made.names, made.nbytes_before, made.nbytes_after
        (('0',), 256000, 34048)
        >>> model(torch.tensor([7])).shape
        torch.Size([1, 2])
    """
    if (payload is None) == (bits is None):
        raise ValueError("replace_embeddings takes either a payload or bits: give one of them")
    method = None if bits is None else Uniform(bits)
    found: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            found.setdefault(module, []).append(name)
    known = sorted(name for several in found.values() for name in several)
    if unknown := sorted(set(names or ()) - {*known}):
        raise ValueError(f"{unknown} are not embeddings of this model: it has {known}")
    if names is not None:
        found = {module: several for module, several in found.items() if not {*several}.isdisjoint(names)}
    if not found:
        raise ValueError("there is no nn.Embedding to replace")
    if payload is not None:
        found = _fitting(found, payload)
    if reasons := [
        f"{several[0] or 'the model'} {why}"
        for module, several in found.items()
        if (why := _obstacle(module, several, model))
    ]:
        raise ValueError(f"not replaced: {'; '.join(reasons)}. Others can be replaced alone: give their names")
    new: dict[nn.Module, CompressedEmbedding] = {}
    for module, several in found.items():
        made = payload if method is None else _compressed(module, several[0], method)
        new[module] = _in_place_of(module, made)  # type: ignore[arg-type]  # one of the two is given
    for module, several in found.items():
        for name in several:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, new[module])
    return [Replacement(tuple(found[old]), old.weight.nbytes, made.nbytes) for old, made in new.items()]


def _rows(weight: torch.Tensor, rows: npt.NDArray[np.integer] | slice) -> npt.NDArray[np.float32]:
    chosen = rows if isinstance(rows, slice) else torch.from_numpy(rows).to(weight.device)
    picked: npt.NDArray[np.float32] = weight.detach()[chosen].float().cpu().numpy()
    return picked


def _fitting(found: dict[nn.Module, list[str]], payload: Payload) -> dict[nn.Module, list[str]]:
    """The one module whose weight the payload stands for."""
    if not payload.aligned:
        raise ValueError("the payload decodes to coordinates of its own, and the model needs the table's")
    differences = {module: _difference(module.weight, payload) for module in found}
    fitting = {module: found[module] for module, why in differences.items() if why is None}
    if len(fitting) > 1:
        raise ValueError(f"the payload fits {[several[0] for several in fitting.values()]}: name one of them")
    if not fitting:
        listed = "; ".join(f"{found[module][0] or 'the model'} {why}" for module, why in differences.items())
        raise ValueError(f"no embedding holds the table of this ({payload.n}, {payload.k}) payload: {listed}")
    return fitting


def _difference(weight: torch.Tensor, payload: Payload) -> str | None:
    """In which way the weight is not the payload's table."""
    if tuple(weight.shape) != (payload.n, payload.k):
        return f"is {tuple(weight.shape)}"
    if weight.is_meta:
        return "is on the meta device, without values"
    share = nearer_share(payload.n, lambda ids: _rows(weight, ids), payload.read)
    if share >= NEARER_SHARE:
        return None
    return f"has {share:.0%} of its rows nearer to their own decoded row than to another, not {NEARER_SHARE:.0%}"


def _obstacle(module: nn.Module, names: list[str], model: nn.Module) -> str | None:
    """Why the module cannot be replaced."""
    if "" in names:
        return "is itself the embedding: make a CompressedEmbedding"
    if isinstance(module, nn.EmbeddingBag) and module.mode not in MODES:
        return f"takes the {module.mode} of a bag: {' and '.join(MODES)} are supported"
    if type(module).forward not in (nn.Embedding.forward, nn.EmbeddingBag.forward):
        return f"is a {type(module).__name__}, which has a forward of its own"
    if module.max_norm is not None:
        return f"has max_norm = {module.max_norm}: its rows change as they are looked up"
    weight = module._parameters.get("weight")
    if weight is None:
        return "computes its weight: make it a parameter first, as remove_parametrizations does"
    if weight.is_meta:
        return "is on the meta device: load its values first"
    if any(
        getattr(module, f"_{hooks}")
        for hooks in ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    ):
        return "has hooks, which would be lost: remove them, and register them again"
    tied = [
        f"{name}.{parameter}" if name else parameter
        for name, other in model.named_modules()
        for parameter, value in other._parameters.items()
        if value is weight and other is not module
    ]
    return f"shares its weight with {', '.join(tied)}: give each a parameter of its own first" if tied else None


def _compressed(module: nn.Embedding | nn.EmbeddingBag, name: str, method: Compressor) -> Payload:
    try:
        return method.compress(EmbeddingTable(_rows(module.weight, slice(None))), np.random.default_rng(0))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _in_place_of(module: nn.Embedding | nn.EmbeddingBag, payload: Payload) -> CompressedEmbedding:
    if isinstance(module, nn.EmbeddingBag):
        made: CompressedEmbedding = CompressedEmbeddingBag(
            payload,
            module.mode,
            module.padding_idx,
            module.include_last_offset,
            module.weight.device,
            module.weight.dtype,
        )
        made.train(module.training)
        return made
    if module.padding_idx is not None:
        row = np.array([module.padding_idx], dtype=np.int32)
        exact = _rows(module.weight, row)
        if not np.array_equal(payload.decode(row, NumpyOps()), exact):
            payload = Replaced(payload, row, exact)
    made = CompressedEmbedding(payload, module.padding_idx, module.weight.device, module.weight.dtype)
    made.train(module.training)
    return made
