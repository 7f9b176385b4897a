"""Where a command prints: the terminal, or a log."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from eigenselect.selector.decision.escaping import on_terminal

LOG_WIDTH = 160
"""Lines of a log are not wrapped to the 80 columns of a terminal that is not there."""


class Terminal(Console):
    """A console to which every string is data: no markup, no escape sequence, no code of an emoji in it is obeyed."""

    def render_str(self, text: str, **how: Any) -> Text:
        """The text, with what a terminal would obey written out."""
        return super().render_str(on_terminal(text), **how)


def terminal(*, stderr: bool = False) -> Terminal:
    """The console of a command: as wide as the terminal, or as a log.

    Args:
        stderr: print there, where stdout carries data.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else LOG_WIDTH
    return Terminal(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def warn(line: str) -> None:
    """One line on stderr."""
    print(on_terminal(" ".join(line.split())), file=sys.stderr)
