"""What the values of single settings may be, as types of the fields of `settings.py`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any

from eigenselect.export.choices import OLDEST_OPSET, OPSET
from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.uses import USES, UseName
from eigenselect.selector.measures import Measures
from eigenselect.selector.pool.budget import Budget
from eigenselect.selector.run.rules import check_names, is_integer, is_list_of_text, is_number, is_seed, rule


def _measures(name: str, value: Any) -> Measures:
    """The rule of `measures`; their values are checked by the measures themselves."""
    known = [each.name for each in dataclasses.fields(Measures)]
    check_names(name, value, known)
    for key in ("lambdas", "exponents"):
        if not isinstance(given := value.get(key, []), list):
            raise ValueError(f"{name}.{key} = {given!r}: must be a list, [1] for example")
    return Measures(**value)


Entries = Annotated[
    Mapping[str, Any], rule("one _target_ with its arguments for each name", lambda value: isinstance(value, dict))
]
Count = Annotated[
    int | None,
    rule("an integer of at least 1, or null", lambda v: v is None or (is_integer(v) and v >= 1)),
]
AtLeastOne = Annotated[int, rule("an integer of at least 1", lambda value: is_integer(value) and value >= 1)]
Providers = Annotated[
    list[str] | None,
    rule(
        'a list of execution providers, ["CPUExecutionProvider"] for example, or null',
        lambda value: value is None or is_list_of_text(value),
    ),
]
Opset = Annotated[
    int,
    rule(
        f"an integer of at least {OLDEST_OPSET}; {OPSET} runs everywhere", lambda v: is_integer(v) and v >= OLDEST_OPSET
    ),
]
Token = Annotated[str, rule("error, zeros or a token, in quotes", lambda value: isinstance(value, str))]
Rows = Annotated[
    list[int | str], rule('a list of ids and tokens, for example [0,"[PAD]"]', lambda value: isinstance(value, list))
]
Size = Annotated[Budget, lambda name, value: Budget.parse(value)]
LookupLimit = Annotated[Limit | None, lambda name, value: None if value is None else Limit.parse(value)]
Use = Annotated[
    UseName | None,
    rule(f"{', '.join(USES)} or null", lambda v: v is None or (isinstance(v, str) and v in USES)),
]
Device = Annotated[str | None, rule("cuda or null", lambda value: value in (None, "cuda"))]
Measured = Annotated[Measures, _measures]
Weight = Annotated[float, rule("a number above 0", lambda value: is_number(value) and 0 < value < math.inf)]
Names = Annotated[list[str], rule('a list of names of tasks, for example ["linear_*"]', is_list_of_text)]
Seeds = Annotated[
    list[int],
    rule(
        "a list of different integers of at least 0",
        lambda v: isinstance(v, list) and bool(v) and all(map(is_seed, v)) and len({*v}) == len(v),
    ),
]
