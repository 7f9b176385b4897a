"""From the configuration of an object to the object: its `_target_`, called with the settings beside it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from eigenselect.compressors import Compressor

TARGET = "_target_"

READER = "eigenselect.selector.sources.read_table"
"""The one target beside compressors: what reads the table of one that holds a table."""


def build(settings: Any) -> Any:
    """What `settings`, of plain dicts, lists, tuples and scalars, stand for; the innermost objects are built first.

    Raises:
        ValueError: a target that cannot be imported, or does not take its settings.
    """
    if isinstance(settings, list | tuple):
        return type(settings)(build(each) for each in settings)
    if not isinstance(settings, dict):
        return settings
    given = {name: build(value) for name, value in settings.items() if name != TARGET}
    return _call(_located(settings[TARGET]), given) if TARGET in settings else given


def suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`did you mean NAME?`, or where none is near what there is; `prefix` is what each of them is written after."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(names)}"


def _located(target: Any) -> Callable[..., Any]:
    """The class or function of the full name `target`."""
    module_name, _, name = str(target).rpartition(".")
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever a module of the user's raises
        raise ValueError(
            f"{TARGET} = {target!r} cannot be imported ({type(error).__name__}: {error}): give the full name of a "
            "class, eigenselect.compressors.Uniform for example"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        public = [each for each in dir(module) if not each.startswith("_")]
        raise ValueError(f"{TARGET} = {target!r} is not there: {suggestion(name, public, f'{module_name}.')}")
    if not (isinstance(found, type) and issubclass(found, Compressor)) and target != READER:
        raise ValueError(f"{TARGET} = {target!r} is not called: it must name a Compressor, or {READER} for a table")
    return found  # type: ignore[no-any-return]


def _call(target: Callable[..., Any], given: dict[str, Any]) -> Any:
    """`target` with its settings; a name that it does not take is answered with the nearest that it does."""
    parameters = inspect.signature(target).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        for unknown in sorted(given.keys() - parameters.keys()):
            raise ValueError(f"{target.__name__} has no setting {unknown}: {suggestion(unknown, parameters)}")
    return target(**given)
