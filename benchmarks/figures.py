"""Numbers and tables of a document in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None, digits: int = 2) -> str:
    """A number without its zero before the point."""
    if value is None:
        return "–"
    return re.sub(r"^(-?)0\.", r"\1.", f"{round(value, digits) + 0.0:.{digits}f}").replace("-", "−")


def cell(interval: Mapping[str, Any], digits: int = 2) -> str:
    """A value with its interval."""
    if interval["low"] is None:
        return number(interval["value"], digits)
    low, high = (number(interval[end], digits) for end in ("low", "high"))
    return f"{number(interval['value'], digits)} [{low}, {high}]"
