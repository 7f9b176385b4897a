"""What a table is used for: the question that each use asks of a candidate, and the measure that answers it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from eigenselect.selector.measures import BY_FREQUENCY, Measures, is_overlap

UseName = Literal["trained", "frozen", "retrieval"]


@dataclass(frozen=True)
class Use:
    """One use of a table.

    Attributes:
        asks: the question, as the end of a sentence.
        criterion: metric key of the measure that answers it.
        weighs: whether it is taken by frequency, where that is known.
    """

    asks: str
    criterion: str
    weighs: bool = False

    def decides(self, known: Collection[str]) -> str | None:
        """The criterion among the measures that are `known`; None where they do not have it."""
        keys = [self.criterion + BY_FREQUENCY, self.criterion] if self.weighs else [self.criterion]
        return next((key for key in keys if key in known), None)

    def answered_by(self, criterion: str) -> bool:
        """Whether the measure answers the question of this use."""
        return criterion.removesuffix(BY_FREQUENCY) == self.criterion or (is_overlap(criterion) and self is TRAINED)


TRAINED = Use("what a model that is trained on the rows can still reach", "eos")

USES: dict[str, Use] = {
    "trained": TRAINED,
    "frozen": Use(
        "how near the rows stay to the table's, for what takes them as they are",
        "ridge_alignment",
        weighs=True,
    ),
    "retrieval": Use("how many of the nearest neighbours stay", "neighbour_overlap"),
}
"""Name -> use. Which criterion serves which is measured in docs/evidence.md."""


def criterion_of(measures: Measures, given: str | None, use: str | None, *, counts: bool) -> str:
    """The metric key that decides: the one that is given, or that of the use; the published one where neither is.

    Args:
        measures: what is measured.
        given: a criterion, or None.
        use: name of a use, or None.
        counts: whether the table has counts.

    Raises:
        ValueError: the criterion is no measure that candidates will have.
    """
    weighs = measures.weighs(counts)
    if given is not None:
        return measures.criterion(given, weighs=weighs)
    return (None if use is None else USES[use].decides(measures.keys_of(weighs=weighs))) or TRAINED.criterion


def question(criterion: str) -> str:
    """What a choice by the measure answers, as the end of a sentence.

    >>> question("eos")
    'that of use=trained, what a model that is trained on the rows can still reach'
    """
    for name, use in USES.items():
        if use.answered_by(criterion):
            return f"that of use={name}, {use.asks}"
    return f"which candidate is best by {criterion}, the question of no use"
