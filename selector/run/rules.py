"""The rules of settings: what a value must be, written as the type of its field, and how a group is read by them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from eigenselect.selector.pool.build import suggestion

T = TypeVar("T")

Rule = Callable[[str, Any], Any]
"""(name of a setting, its value as configured) -> the value; raises a ValueError where it cannot be used."""


def rule(must: str, holds: Callable[[Any], bool], made: Callable[[Any], Any] = lambda value: value) -> Rule:
    """The rule of a value that `holds`, else it `must be ...`; what is `made` of it is kept."""

    def checked(name: str, value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"{name} = {value!r}: must be {must}")
        return made(value)

    return checked


def choice(names: Collection[str]) -> Rule:
    """The rule of a value that is one of `names`."""
    return rule(" or ".join(names), lambda value: isinstance(value, str) and value in names)


def is_integer(value: object) -> bool:
    """Whether it is an integer, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_seed(value: object) -> bool:
    """Whether it is an integer of at least 0."""
    return isinstance(value, int) and is_integer(value) and value >= 0


def is_list_of_text(value: object) -> bool:
    """Whether it is a list of at least one text."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


QUOTED = "in quotes where it could be read as something else, '\"2024\"' for example"

Text = Annotated[str, rule(f"text, {QUOTED}", lambda value: isinstance(value, str))]
TextOrNull = Annotated[
    str | None, rule(f"text, {QUOTED}, or null", lambda value: value is None or isinstance(value, str))
]
FilePath = Annotated[Path, rule(f"a path, {QUOTED}", lambda value: isinstance(value, str), Path)]
FilePathOrNull = Annotated[
    Path | None,
    rule(
        f"a path, {QUOTED}, or null",
        lambda value: value is None or isinstance(value, str),
        lambda value: None if value is None else Path(value),
    ),
]
Switch = Annotated[bool, rule("true or false", lambda value: isinstance(value, bool))]
Integer = Annotated[int, rule("an integer", is_integer)]
Seed = Annotated[int, rule("an integer of at least 0", is_seed)]
Share = Annotated[float, rule("a share from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)]


def read(kind: type[T], given: Any, where: str = "") -> T:
    """A `kind` of the settings `given`, each by its rule; `where` is the name of their group.

    Raises:
        ValueError: a setting that is not known, is missing, or cannot be used.
    """
    hints = get_type_hints(kind, include_extras=True)
    rules = {name: found for name, hint in hints.items() if (found := rule_of(hint))}
    check_names(where, given, rules)
    prefix = f"{where}." if where else ""
    if missing := [name for name in rules if name not in given and not hasattr(kind, name)]:
        raise ValueError(f"required and not given: {', '.join(f'{prefix}{name}=...' for name in missing)}")
    return kind(**{name: rules[name](f"{prefix}{name}", value) for name, value in given.items()})


def rule_of(hint: Any) -> Rule | None:
    """The rule that a field is annotated with; that of a group of settings reads it. Other fields are no settings."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[1]  # type: ignore[no-any-return]
    return (lambda name, value: read(hint, value, name)) if isinstance(hint, type) and is_dataclass(hint) else None


def check_names(where: str, given: Any, known: Collection[str]) -> None:
    """Raise a ValueError unless `given` is a group of settings, each of them among the `known`."""
    if not isinstance(given, dict):
        first = next(iter(known))
        raise ValueError(f"{where} = {given!r}: give its settings one by one, {where}.{first}=... for example")
    prefix = f"{where}." if where else ""
    for name in given:
        if name not in known:
            raise ValueError(f"there is no setting {prefix}{name}: {suggestion(str(name), known, prefix)}")
