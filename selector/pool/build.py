"""From the configuration of an object to the object: its `_target_`, called with the settings beside it."""

from __future__ import annotations

import difflib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

from eigenselect.compressors import Compressor, EmbeddingTable
from eigenselect.compressors.plugins import GROUP

TARGET = "_target_"

READER = "eigenselect.selector.sources.read_table"
"""The one target beside compressors: what reads the table of one that holds a table."""


def build(settings: Any) -> Any:
    """What `settings`, of plain dicts, lists, tuples and scalars, stand for: a compressor where they name a target.

    A target is called only where an object of its kind is taken: the whole of the settings is checked for that first.

    Raises:
        ValueError: a target that cannot be imported, is of another kind than its place takes, or does not take its
            settings.
    """
    check_targets(settings, (Compressor,))
    return _built(settings)


def check_targets(settings: Any, taken: tuple[type, ...]) -> None:
    """Raise a ValueError unless each target among `settings` is there and of a kind that its place takes.

    Args:
        settings: of the object, as in `build`.
        taken: the kinds of objects that may stand here; none where only plain values do.
    """
    if isinstance(settings, list | tuple):
        for each in settings:
            check_targets(each, taken)
        return
    if not isinstance(settings, dict):
        return
    if TARGET not in settings:
        for each in settings.values():
            check_targets(each, ())
        return
    name, target = settings[TARGET], _located(settings[TARGET])
    kind = target if isinstance(target, type) else EmbeddingTable
    if not any(issubclass(kind, each) for each in taken):
        kinds = " or ".join(each.__name__ for each in taken)
        raise ValueError(
            f"{TARGET} = {name!r} is not called: its place takes {f'a {kinds}' if kinds else 'a plain value'}"
        )
    places = _places(target)
    for setting, value in settings.items():
        if setting != TARGET:
            check_targets(value, places.get(setting, ()))


def suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`did you mean NAME?`, or where none is near what there is; `prefix` is what each of them is written after."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(names)}"


def _built(settings: Any) -> Any:
    """What `settings` stand for; the innermost objects are built first."""
    if isinstance(settings, list | tuple):
        return type(settings)(_built(each) for each in settings)
    if not isinstance(settings, dict):
        return settings
    given = {name: _built(value) for name, value in settings.items() if name != TARGET}
    return _call(_located(settings[TARGET]), given) if TARGET in settings else given


def _located(target: Any) -> Callable[..., Any]:
    """The compressor's class, or the reader, of the full name `target`."""
    module_name, _, name = str(target).rpartition(".")
    found: Any = None
    if target == READER or _may_be_imported(module_name):
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
        raise ValueError(
            f"{TARGET} = {target!r} is not called: it must name a Compressor, of eigenselect, of a package with an "
            f"entry point of the group {GROUP} or of a folder on PYTHONPATH, or {READER} for a table"
        )
    return found  # type: ignore[no-any-return]


def _may_be_imported(module: str) -> bool:
    """Whether a module is loaded already, or is one that somebody put here for its compressors.

    An import runs what is in the module: neither the standard library's nor those of packages that are installed for
    something else are imported because a file of settings names them.
    """
    top = module.partition(".")[0]
    if module in sys.modules or not top:
        return True
    if top in sys.stdlib_module_names:
        return False
    if any(point.module.partition(".")[0] == top for point in entry_points(group=GROUP)):
        return True
    spec = find_spec(top)
    if spec is None:  # the import says so
        return True
    places = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    found = [spec.origin, *(spec.submodule_search_locations or ())]
    return not any(place in Path(each).resolve().parents for place in places for each in found if each)


def _places(target: Callable[..., Any]) -> dict[str, tuple[type, ...]]:
    """The kinds of objects that each parameter of `target` is annotated to take."""
    try:
        hints = get_type_hints(target)
    except NameError:  # names that are there for type checkers alone
        hints = dict.fromkeys(inspect.signature(target).parameters, Compressor | EmbeddingTable)
    return {name: tuple(_kinds(hint)) for name, hint in hints.items()}


def _kinds(hint: Any) -> Iterable[type]:
    """The compressors' and tables' classes in a type hint."""
    if isinstance(hint, type) and issubclass(hint, Compressor | EmbeddingTable):
        yield hint
    for inner in get_args(hint):
        yield from _kinds(inner)


def _call(target: Callable[..., Any], given: dict[str, Any]) -> Any:
    """`target` with its settings; a name that it does not take is answered with the nearest that it does."""
    parameters = inspect.signature(target).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        for unknown in sorted(given.keys() - parameters.keys()):
            raise ValueError(f"{target.__name__} has no setting {unknown}: {suggestion(unknown, parameters)}")
    return target(**given)
