"""The command: `eigenselect push DIR repo=OWNER/NAME [private=true] [license=NAME]`."""

from __future__ import annotations

from collections.abc import Sequence

from eigenselect.selector.commands.configuration import settings_of
from eigenselect.selector.commands.words import folder_and_settings, say
from eigenselect.selector.sharing.hub import push


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect push words`."""
    try:
        folder, given = folder_and_settings(words, settings_of("push"), "push DIR repo=OWNER/NAME")
        if (private := given.get("private", "false")) not in ("true", "false"):
            raise ValueError(f"private = {private!r}: must be true or false")
        print(push(folder, given["repo"], private=private == "true", license=given.get("license")))
    except ValueError as error:
        say(error)
        return 2
    return 0
