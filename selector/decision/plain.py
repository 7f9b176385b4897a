"""Dataclasses as the values of JSON: written, and read back by their annotations.

A field that is None by default is left out of what is written while it is. What is read may hold further names, which a
later program may have added; every field without a default must be there, and what is there be of its type.
"""

from __future__ import annotations

import reprlib
import types
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from eigenselect.compressors.documents import parsed
from eigenselect.compressors.words import NAME, brief

NAMES = {str: "text", int: "an integer", float: "a number", bool: "true or false", dict: "an object", list: "a list"}
"""Types of JSON in the words of a message."""

CHANGED = "it is of another version of eigenselect, or was changed"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        ValueError: it holds none.
    """
    try:
        found = parsed(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read as JSON: {brief(error)}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds a {type(found).__name__}: it must be a JSON object")
    return found


def written(value: Any) -> Any:
    """The values of JSON for a dataclass, or what holds some."""
    if is_dataclass(value):
        pairs = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: written(each) for field, each in pairs if each is not None or field.default is not None}
    if isinstance(value, dict):
        return {key: written(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [written(each) for each in value]
    return value


def read(kind: Any, value: Any, where: str = "") -> Any:
    """A `kind`, of which `value` is what `written` gave.

    Args:
        kind: a dataclass, or what the fields of one are annotated with.
        value: as `json.loads` gives it.
        where: its place in the whole, for messages.

    Raises:
        ValueError: it lacks a name, or holds a value of another type.
    """
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _object(kind, _of(dict, value, where), where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:  # with None, and nothing else
        return None if value is None else read(inner[0], value, where)
    if origin is list:
        return [read(inner[0], each, f"{where}[{i}]") for i, each in enumerate(_of(list, value, where))]
    if origin is dict:
        return {key: read(inner[1], each, f"{where}.{key}") for key, each in _of(dict, value, where).items()}
    return _of(kind, value, where)


def _object(kind: Any, value: dict[str, Any], where: str) -> Any:
    hints, given = get_type_hints(kind), {}
    for field in fields(kind):
        if field.name in value:
            place = f"{where}.{field.name}" if where else field.name
            given[field.name] = read(hints[field.name], value[field.name], place)
        elif field.default is MISSING:
            raise ValueError(f"lacks {field.name!r}{where and f' in {brief(where)}'}: {CHANGED}")
    return kind(**given)


def _of(kind: type, value: Any, where: str) -> Any:
    """The value, where it is a `kind`; an integer is a number as well."""
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(
            f"holds something else than a record: {brief(where)} is {brief(reprlib.repr(value), NAME)} and must be "
            f"{NAMES[kind]}"
        )
    return value
