"""Payload files, read back."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from eigenselect.compressors.payloads.base import FORMAT_VERSION, Payload
from eigenselect.compressors.payloads.composed import Projected, Repeated, Replaced, Scaled, Stacked, Sum, Unaligned
from eigenselect.compressors.payloads.kinds import Coded, Dense, Packed, TensorTrain, Trellis

KINDS: dict[str, type[Payload]] = {
    kind.__name__: kind
    for kind in (
        *(Dense, Packed, Coded, Trellis, TensorTrain),
        *(Sum, Projected, Repeated, Scaled, Unaligned, Replaced, Stacked),
    )
}
"""The tags of the file format."""


def load(path: Path) -> Payload:
    """Read a payload that `Payload.save` wrote.

    Raises:
        ValueError: not a payload file, a newer format, an unknown kind, or arrays that do not make a payload.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("payload")
            arrays = {name: file.get_tensor(name) for name in file.keys()} if text is not None else {}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as a payload: {error}") from error
    if text is None:
        raise ValueError(f"{path} is a safetensors file without a payload entry: was it written by Payload.save?")
    try:
        spec = json.loads(text)
        version = spec.pop("version", None) if isinstance(spec, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(
                f"it has payload format {version}, this program reads {FORMAT_VERSION}: upgrade eigenselect"
            )
        payload = _build(spec, arrays, "")
        if unused := sorted(arrays.keys() - payload.arrays().keys()):
            raise ValueError(f"it holds {unused}, which are no part of its payload: was it changed after it was saved?")
    except ValueError as error:
        raise ValueError(f"{path} is not a payload: {error}") from error
    return payload


def _build(spec: Any, arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Payload:
    name = spec.get("kind") if isinstance(spec, dict) else spec
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"it is of kind {name!r}, known are {sorted(KINDS)}: upgrade eigenselect")
    given: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        elements = (f"{field.name}.{i}" for i in itertools.count())
        several = list(itertools.takewhile(lambda key: key in spec or prefix + key in arrays, elements))
        if several:
            given[field.name] = tuple(_value(key, spec, arrays, prefix) for key in several)
        else:
            given[field.name] = _value(field.name, spec, arrays, prefix)
    return kind(**given)


def _value(key: str, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Any:
    if prefix + key in arrays:
        return arrays[prefix + key]
    if key not in spec:
        raise ValueError(f"it lacks {prefix + key!r}: was it changed after it was saved?")
    return _build(spec[key], arrays, f"{prefix}{key}.") if isinstance(spec[key], dict) else spec[key]
