"""The JSON schema of `selection.json`, from the dataclasses of its record: what `docs/selection.schema.json` holds.

`python -m eigenselect.selector.decision.schema > docs/selection.schema.json` writes it again when these change.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from eigenselect.selector.decision.record import VERSION, Decision

DIALECT = "https://json-schema.org/draft/2020-12/schema"

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema() -> dict[str, Any]:
    """The whole schema. An object may hold further names: they do not change the version."""
    whole = _of(Decision)
    whole["properties"]["version"]["const"] = VERSION
    whole["required"].insert(0, "version")
    return {"$schema": DIALECT, "title": "selection.json of eigenselect", **whole}


def _of(kind: Any) -> dict[str, Any]:
    """What a value of that annotation must be."""
    if kind is Any:
        return {}
    if is_dataclass(kind):
        return _object(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:  # with None
        return {"anyOf": [_of(inner[0]), {"type": "null"}]}
    if origin is list:
        return {"type": "array", "items": _of(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(inner[1])}
    return {"type": TYPES[kind]}


def _object(kind: Any) -> dict[str, Any]:
    hints, says = get_type_hints(kind), descriptions(kind)
    return {
        "type": "object",
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "properties": {each.name: {"description": says[each.name], **_of(hints[each.name])} for each in fields(kind)},
        "required": [each.name for each in fields(kind) if each.default is MISSING],
    }


def descriptions(kind: type) -> dict[str, str]:
    """Attribute -> what the docstrings of a class and those that it extends say of it."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        _, _, listed = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^    (\w+): (.*(?:\n     .*)*)", listed, re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
