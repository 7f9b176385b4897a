"""The console command: `eigenselect [COMMAND] key=value ...`; `python -m eigenselect` is the same."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "export": "eigenselect.selector.commands.export",
    "check": "eigenselect.selector.commands.check",
    "validate": "eigenselect.selector.commands.validate",
    "native": "eigenselect.export.native.build",
}
"""Word -> the module whose `main` takes the words after it. Without one of them it is the main job."""

MAIN_JOB = "eigenselect.selector.commands.select"


def main() -> None:
    """Run the command that the arguments of this process name, and exit with its code."""
    words = sys.argv[1:]
    if words and words[0] in COMMANDS:
        sys.exit(import_module(COMMANDS[words[0]]).main(words[1:]))
    sys.exit(import_module(MAIN_JOB).main(words))


if __name__ == "__main__":
    main()
