"""How long lookups take, as a limit of the choice, and what the figures were measured on. Light: settings read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

RATIO = "lookup_ratio_8192"
"""Metric key: times as long as a float32 Gather of the table, 8,192 ids at once on one thread."""

NANOSECONDS = "lookup_ns_8192"
"""Metric key: nanoseconds a row, 8,192 ids at once on one thread."""

_LIMIT = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>x|ns)", re.IGNORECASE)


@dataclass(frozen=True)
class Limit:
    """The longest that a lookup may take, 8,192 ids at once on one thread.

    Attributes:
        text: as given.
        key: metric key of what it limits.
        most: the highest value of it.

    Example:
        >>> Limit.parse("2x").allows({"lookup_ratio_8192": 2.4})
        False
        >>> Limit.parse("500ns").key
        'lookup_ns_8192'
    """

    text: str
    key: str
    most: float

    @staticmethod
    def parse(value: object) -> Limit:
        """Read `2x`, times a float32 Gather, or `500ns`, nanoseconds a row.

        Raises:
            ValueError: anything else, or not above zero.
        """
        text = str(value).strip()
        match = _LIMIT.fullmatch(text)
        if match is None or not float(match["number"]):
            raise ValueError(
                f"limits.lookup = {text!r}: must be times a float32 Gather (2x) or nanoseconds a row (500ns), above "
                "zero, or null"
            )
        return Limit(text, RATIO if match["unit"].lower() == "x" else NANOSECONDS, float(match["number"]))

    def allows(self, costs: Mapping[str, float]) -> bool:
        """Whether a candidate of these costs is fast enough."""
        return costs[self.key] <= self.most

    def says(self, costs: Mapping[str, float]) -> str:
        """How long its lookups take, in the limit's unit."""
        value = costs[self.key]
        return f"{value:.3g} times a float32 Gather" if self.key == RATIO else f"{value:.3g} ns a row"


@dataclass(frozen=True, kw_only=True)
class TimedOn:
    """What lookups were timed on.

    Attributes:
        processor: its name.
        threads: all of those that the process had.
        onnxruntime: version.
        target: what the model is made for.
        opset: of the model.
        providers: execution providers that were asked for.
        output: type of the rows that it gives.
    """

    processor: str
    threads: int
    onnxruntime: str
    target: str
    opset: int
    providers: list[str]
    output: str = "float32"

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.threads} threads, ONNX Runtime {self.onnxruntime}, {self.providers[0]}, target "
            f"{self.target}" + ("" if self.output == "float32" else f", {self.output} rows")
        )
