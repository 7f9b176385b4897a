"""Where runs come from, and what their parameters are called, so that MLflow's pages can compare them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from mlflow.tracking.context.registry import resolve_tags


@cache
def origin() -> Mapping[str, str]:
    """The tags that MLflow gives a run of its own: the user, the source, the commit."""
    return dict(resolve_tags())


def aligned(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a candidate under the names that they have in their own methods, however deep these are.

    What two of the methods have keeps its whole name, and what only names a method is left out: `Candidate.method` has
    it.

    >>> aligned({"norm": "none", "then": "TrellisCode", "then.bits": 2, "then.window": 10})
    {'norm': 'none', 'bits': 2, 'window': 10}
    >>> aligned({"head": "KMeans", "head.bits": 4, "tail": "KMeans", "tail.bits": 2})
    {'head': 'KMeans', 'head.bits': 4, 'tail': 'KMeans', 'tail.bits': 2}
    """
    named = {key: value for key, value in parameters.items() if _last(key) != "then"}
    count = Counter(map(_last, named))
    return {key if count[_last(key)] > 1 else _last(key): value for key, value in named.items()}


def _last(key: str) -> str:
    return key.rpartition(".")[2]
