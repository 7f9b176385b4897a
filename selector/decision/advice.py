"""What whoever reads a choice may do next, as far as the figures say something."""

from __future__ import annotations

from eigenselect.selector.decision.lookup import RATIO
from eigenselect.selector.decision.selection import Selection, tied

UNUSED = 0.1
"""Share of the budget that is worth a word when it is left."""

SLOW = 2.0
"""A candidate whose lookups are this many times faster is worth a word, if the choice is slower than that itself."""


def advice(selection: Selection, *, fitted: bool) -> list[str]:
    """A line for each.

    Args:
        selection: the choice.
        fitted: the candidates were fitted to the budget (`candidates=auto`).
    """
    chosen, steps = selection.chosen, []
    unused = 1 - chosen.nbytes / selection.budget
    if unused >= UNUSED:
        cure = "no candidate came nearer" if fitted else "candidates=auto fits each method to it"
        steps.append(f"{unused:.0%} of the budget is unused: {cure}.")
    if others := selection.disagreeing:
        steps.append(
            f"Sensitive to the criterion: criterion={others[0].criterion} takes {others[0].best.name}; docs/method.md "
            "says what each asks, eigenselect validate tries them on tasks."
        )
    if (line := _faster(selection)) is not None:
        steps.append(line)
    return steps


def _faster(selection: Selection) -> str | None:
    """What the best candidate of much faster lookups would cost by the criterion, if there is one."""
    chosen, criterion = selection.chosen, selection.criterion
    if (ratio := chosen.costs.get(RATIO, 0.0)) <= SLOW:
        return None
    for other in selection.ranking:
        if (time := other.costs.get(RATIO, ratio)) <= ratio / SLOW:
            score = "a tie" if tied(chosen, other, criterion) else f"{criterion} {other.measures[criterion]:.4f}"
            return (
                f"A lookup takes {ratio:.3g} times a float32 Gather: limits.lookup={1.2 * time:.2g}x takes "
                f"{other.name}, {time:.3g} times, {score}."
            )
    return None
