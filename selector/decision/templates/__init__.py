"""Pages that stand alone, from the templates beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from eigenselect.selector.decision.escaping import on_terminal
from eigenselect.selector.decision.lookup import NANOSECONDS
from eigenselect.selector.decision.ranking import heading, megabytes, number, ratio
from eigenselect.selector.decision.selection import Candidate


def render(template: str, **values: Any) -> str:
    """A page: the file `template` with the `values`, every text of which is escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("eigenselect.selector.decision"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"heading": heading, "shown": on_terminal, "number": number, "megabytes": megabytes}
    made.filters |= {"ratio": ratio, "scored": _scored, "nanoseconds": _nanoseconds, "polyline": _polyline}
    return made


def _scored(candidate: Candidate, key: str) -> str:
    """A score with its standard error, as far as there are any."""
    if key not in candidate.measures:
        return ""
    error = candidate.standard_errors.get(f"{key}_stderr")
    return f"{candidate.measures[key]:.6g}" + ("" if error is None else f" ± {error:.1g}")


def _nanoseconds(candidate: Candidate) -> str:
    return f"{candidate.costs[NANOSECONDS]:,.0f}" if NANOSECONDS in candidate.costs else "-"


def _polyline(values: Sequence[float], width: float, height: float, least: float = 0.0) -> str:
    """The points of a line from the left to the right edge, 1 at the top and `least` at the bottom."""
    step = width / max(1, len(values) - 1)
    span = 1 - least or 1.0
    return " ".join(f"{i * step:.1f},{height * (1 - (v - least) / span):.1f}" for i, v in enumerate(values))
