"""Payload files, read back."""

from __future__ import annotations

import itertools
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError

from eigenselect.compressors.data.tensor_file import load_arrays

# Imported to be defined: a file may name any of our kinds.
from eigenselect.compressors.documents import parsed
from eigenselect.compressors.payloads import (  # noqa: F401
    coded,
    column,
    composed,
    dense,
    mapped,
    packed,
    tensor_train,
    trellis,
)
from eigenselect.compressors.payloads.base import FORMAT_VERSION, Payload, kinds
from eigenselect.compressors.payloads.ranges import check_decode
from eigenselect.compressors.plugins import load_plugins
from eigenselect.compressors.whole import check_listed
from eigenselect.compressors.words import brief

DEEPEST = 64
"""Parts of parts that a file may have; no method makes ten."""

SAYS = 200
"""Characters of what is said of a file."""


def load(path: Path) -> Payload:
    """Read a payload that `Payload.save` wrote.

    A kind from outside must be imported already, or declared by an installed package (`compressors.plugins`): nothing
    is imported by the name that a file has.

    Raises:
        ValueError: not a payload file, a newer format, an unknown kind, arrays that do not make a payload or decode
            to numbers that are not finite; a file of a hand-over that is not whole, or that the manifest beside it does
            not list as it is.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "payload.safetensors"
        ...     Dense(np.array([[1, 2], [3, 4]], np.float32)).save(path)
        ...     load(path).read(np.array([-1]))
        array([[3., 4.]], dtype=float32)
    """
    path = Path(path)
    check_listed(path)
    try:
        arrays, metadata = load_arrays(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as a payload: {brief(error, SAYS)}") from error
    if (text := metadata.get("payload")) is None:
        raise ValueError(f"{path} is a safetensors file without a payload entry: was it written by Payload.save?")
    try:
        spec = parsed(text)
        version = spec.pop("version", None) if isinstance(spec, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(
                f"it has payload format {version}, this program reads {FORMAT_VERSION}: upgrade eigenselect"
            )
        payload = _build(spec, arrays, "")
        if unused := sorted(arrays.keys() - payload.arrays().keys()):
            raise ValueError(
                f"it holds {unused[:3]}, which are not part of its payload: was it changed after it was saved?"
            )
        check_decode(payload)
    except ValueError as error:
        raise ValueError(f"{path} is not a payload: {brief(error, SAYS)}") from error
    return payload


def _build(spec: Any, arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Payload:
    if prefix.count(".") > DEEPEST:
        raise ValueError(f"its parts are nested more than {DEEPEST} deep")
    kind = _kind(spec.get("kind") if isinstance(spec, dict) else spec)
    given: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        elements = (f"{field.name}.{i}" for i in itertools.count())
        several = list(itertools.takewhile(lambda key: key in spec or prefix + key in arrays, elements))
        if several:
            given[field.name] = tuple(_value(key, spec, arrays, prefix) for key in several)
        else:
            given[field.name] = _value(field.name, spec, arrays, prefix)
    return kind(**given)


def _kind(tag: Any) -> type[Payload]:
    known = kinds()
    if isinstance(tag, str) and "." in tag and tag not in known:
        load_plugins()
        known = kinds()
    if isinstance(tag, str) and tag in known:
        return known[tag]
    if isinstance(tag, str) and "." in tag:
        raise ValueError(
            f"it is of kind {tag!r}, which is defined outside of eigenselect: install its package with an entry point "
            "of the group eigenselect, or import it first"
        )
    raise ValueError(f"it is of kind {tag!r}, known are {sorted(known)}: upgrade eigenselect")


def _value(key: str, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Any:
    if prefix + key in arrays:
        return arrays[prefix + key]
    if key not in spec:
        raise ValueError(f"it lacks {prefix + key!r}: was it changed after it was saved?")
    return _build(spec[key], arrays, f"{prefix}{key}.") if isinstance(spec[key], dict) else spec[key]
