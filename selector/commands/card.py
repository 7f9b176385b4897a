"""The command: `eigenselect card DIR [license=NAME] [out=FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from eigenselect.selector.commands.configuration import settings_of
from eigenselect.selector.commands.words import folder_and_settings, say
from eigenselect.selector.sharing.card import CARD, card


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect card words`."""
    try:
        folder, given = folder_and_settings(words, settings_of("card"), "card DIR [license=NAME] [out=FILE]")
        text = card(folder, license=given.get("license"))
        out = Path(given.get("out", folder / CARD))
        if str(out) == "-":
            sys.stdout.write(text)
            return 0
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        say(f"out = {out} cannot be written: {error.strerror}; name another file")
        return 2
    except ValueError as error:
        say(error)
        return 2
    print(out)
    return 0
