"""Checks of a method's settings, each written once.

Every check takes the method and the name of its setting, and raises a ValueError of one form:

    METHOD SETTING = VALUE: must be WHAT IT MUST BE
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from eigenselect.compressors.base import Compressor


def refuse(method: Compressor, name: str, must: str, hint: str = "") -> NoReturn:
    """Raise the ValueError that the setting `name` of `method` is not what it `must` be."""
    value = reprlib.repr(getattr(method, name))
    raise ValueError(f"{type(method).__name__} {name} = {value}: must be {must}" + (f"; {hint}" if hint else ""))


def check_count(method: Compressor, name: str, least: int = 1, most: int | None = None, hint: str = "") -> None:
    """The setting is an integer from `least` to `most`."""
    value = getattr(method, name)
    if type(value) is not int or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        refuse(method, name, f"an integer {bounds}", hint)


def check_number(
    method: Compressor,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """The setting is a finite number within the bounds that are given."""
    value = getattr(method, name)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not (
        number
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    ):
        bounds = {"of at least": least, "above": above, "at most": most, "below": below}
        given = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
        refuse(method, name, f"a number {' and '.join(given)}")


def check_choice(method: Compressor, name: str, choices: Sequence[Any], hint: str = "") -> None:
    """The setting is one of `choices`, of its type too: 2.0 is not 2, and True is not 1."""
    value = getattr(method, name)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        *others, last = map(str, choices)
        refuse(method, name, f"{', '.join(others)} or {last}", hint)


def check_flag(method: Compressor, name: str) -> None:
    """The setting is True or False."""
    if not isinstance(getattr(method, name), bool):
        refuse(method, name, "true or false")


def check_one_given(method: Compressor, one: str, other: str) -> None:
    """Exactly one of the two settings is given; the other is None."""
    if (getattr(method, one) is None) == (getattr(method, other) is None):
        refuse(method, one, f"given, or {other} in its place", f"{other} = {reprlib.repr(getattr(method, other))}")


def check_time_limit(method: Compressor) -> None:
    """The setting `time_limit` is a number of seconds of at least 0, or None."""
    value = method.time_limit  # type: ignore[attr-defined]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
        refuse(method, "time_limit", "seconds of at least 0", "null is no limit")


def check_then(method: Compressor, name: str = "then") -> None:
    """The setting is a compressor that keeps the columns of what it compresses."""
    then = getattr(method, name)
    if not isinstance(then, Compressor):
        refuse(method, name, "a compressor", "in a configuration one with a _target_")
    if not then.keeps_dimension:
        raise ValueError(
            f"{type(method).__name__} {name} = {then.name}: must be a method that keeps the columns it is given, "
            "as PCA does with keep_dimension=true; this one decodes to coordinates of its own"
        )


def shown(number: float | None) -> str:
    """A number for a name: the shortest decimal that gives it back, so that other numbers have other names."""
    return str(number) if number is None else repr(float(number)).removesuffix(".0")
