"""What `--help` prints: how a command is called and every setting of it, as its file in `conf/` explains them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from eigenselect.selector.commands.configuration import MAIN_JOB, REQUIRED, Setting, header, settings_of

WIDTH = 80

MORE = {
    MAIN_JOB: [
        ("-m, --config-dir", "a run for each value, files of yours: docs/command.md"),
        ("other commands", "card check export native plan push validate; --version"),
    ],
    **{name: [("all others", "those of the main job: eigenselect --help")] for name in ("plan", "validate")},
}
"""Command -> what there is beside its settings."""


def help_of(command: str | None) -> str:
    """The text for `command`; None is the main job."""
    name = command or MAIN_JOB
    settings = settings_of(name)
    lines = [_line(setting) for setting in settings if setting.common]
    if rare := [setting.key for setting in settings if not setting.common]:
        lines.append(("less often", f"{', '.join(_shortened(rare))}: docs/command.md"))
    lines += MORE.get(name, [])
    width = max(len(key) for key, _ in lines) + 2
    return "\n".join([*header(name), *(line for key, says in lines for line in _wrapped(key, says, width))])


def _shortened(keys: Sequence[str]) -> Iterator[str]:
    """The keys, those that follow one of their group without its name: `a.b`, `.c`."""
    before = ""
    for key in keys:
        group, dot, name = key.rpartition(".")
        yield f".{name}" if dot and group == before else key
        before = group


def _line(setting: Setting) -> tuple[str, str]:
    if setting.default == REQUIRED:
        return f"{setting.key}=...", setting.says
    return setting.key, setting.says if setting.default == "null" else f"{setting.says} ({setting.default})"


def _wrapped(key: str, says: str, width: int) -> list[str]:
    return textwrap.wrap(says, WIDTH, initial_indent=key.ljust(width), subsequent_indent=" " * width)
