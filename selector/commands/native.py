"""The command: `eigenselect native [include=FOLDER] [cuda=1]`, which `make native` calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eigenselect.export.native import LIBRARY
from eigenselect.export.native.build import build
from eigenselect.selector.commands.configuration import settings_of
from eigenselect.selector.commands.words import say, settings


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect native words`."""
    try:
        given = settings(words, settings_of("native"))
        if (cuda := given.get("cuda", "0")) not in ("0", "1"):
            raise ValueError(f"cuda = {cuda!r}: must be 0 or 1")
        build(Path(given["include"]) if "include" in given else None, cuda=cuda == "1")
    except ValueError as error:
        say(error)
        return 2
    print(LIBRARY)
    return 0
