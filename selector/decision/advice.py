"""What whoever reads a choice may do next, as far as the figures say something."""

from __future__ import annotations

from eigenselect.selector.decision.lookup import RATIO
from eigenselect.selector.decision.selection import Selection, tied

UNUSED = 0.1
"""Share of the budget that is worth a word when it is left."""

SLOW = 2.0
"""A lookup that takes this many times that of a tie is worth a word."""


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
    runner = selection.runner_up
    if runner is not None and RATIO in chosen.costs and RATIO in runner.costs:
        times = chosen.costs[RATIO] / runner.costs[RATIO]
        if times >= SLOW and tied(chosen, runner, selection.criterion):
            steps.append(
                f"The tie with {runner.name} costs {times:.1f} times its lookup: limits.lookup="
                f"{1.2 * runner.costs[RATIO]:.2g}x takes the faster one."
            )
    return steps
