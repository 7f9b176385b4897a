"""From configuration to compressors: every list among the settings is a list of alternatives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from compressors import Compressor


def expand(pool: Mapping[str, Any]) -> list[Compressor]:
    """The compressors of a pool: each entry is a `_target_` with arguments, and stands for the product of its lists.

    Args:
        pool: entry name -> configuration of plain dicts, lists and scalars.

    Raises:
        ValueError: an entry that cannot be built, two candidates of one name, or no candidate at all.
    """
    found: dict[str, Compressor] = {}
    for entry, settings in pool.items():
        for alternative in _alternatives(settings):
            compressor = _build(entry, alternative)
            if found.setdefault(compressor.name, compressor) is not compressor:
                raise ValueError(f"candidates.pool.{entry} makes {compressor.name} a second time: drop one of the two")
    if not found:
        raise ValueError("the candidates' pool is empty: name at least one compressor, for example candidates=quick")
    return list(found.values())


def _alternatives(node: Any) -> list[Any]:
    """Everything that `node` stands for, with its lists multiplied out."""
    if isinstance(node, Mapping):
        values = itertools.product(*(_alternatives(value) for value in node.values()))
        return [dict(zip(node, combination, strict=True)) for combination in values]
    if isinstance(node, list):
        return [alternative for element in node for alternative in _alternatives(element)]
    return [node]


def _build(entry: str, settings: Any) -> Compressor:
    try:
        made = instantiate(settings, _convert_="all")
    except (InstantiationException, TypeError, ValueError) as error:
        raise ValueError(f"candidates.pool.{entry}: {error.__cause__ or error}") from error
    if not isinstance(made, Compressor):
        raise ValueError(f"candidates.pool.{entry} makes a {type(made).__name__}: its _target_ must be a Compressor")
    return made


def parameters(compressor: Compressor) -> dict[str, Any]:
    """A compressor's settings by name, flat: a nested one is its class name, and its own settings are dotted."""
    flat: dict[str, Any] = {}
    for field in fields(compressor):  # type: ignore[arg-type]  # every compressor is a dataclass
        value = getattr(compressor, field.name)
        if isinstance(value, Compressor):
            flat[field.name] = type(value).__name__
            flat |= {f"{field.name}.{name}": inner for name, inner in parameters(value).items()}
        else:
            flat[field.name] = value
    return flat
