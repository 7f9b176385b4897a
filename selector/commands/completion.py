"""What is answered to a shell that completes a line, where Hydra does not know the answer."""

from __future__ import annotations

import os
from collections.abc import Collection

from eigenselect.selector.commands.configuration import settings_of

WITH_HYDRA = ("validate", "plan")
"""The commands that Hydra completes, beside the main job."""


def complete(line: str, commands: Collection[str], words: list[str]) -> list[str]:
    """Print the commands that may follow, or the settings of one; the words with which Hydra does the rest, if any.

    Args:
        line: what is typed so far.
        commands: the command words.
        words: those of the shell's question, `-sc query=bash`.
    """
    program, _, rest = line.partition(" ")
    command, space, typed = rest.partition(" ")
    if not space or command not in commands:
        print(*(each for each in commands if not space and each.startswith(command)), sep="\n")
        return words
    if command not in WITH_HYDRA:
        print(*(f"{setting.key}=" for setting in settings_of(command)), sep="\n")
        return []
    os.environ["COMP_LINE"] = f"{program} {typed}"
    return [command, *words]
