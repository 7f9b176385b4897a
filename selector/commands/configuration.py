"""What a command takes, read from its file in `conf/`: each setting with its default and the comment beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

MAIN_JOB = "config"
"""The main job's file; that of any other command has the command's name."""

REQUIRED = "???"

LESS_OFTEN = "# less often"
"""Line of a file before the settings that `--help` only names."""

_LINE = re.compile(r"(?P<indent> *)(?P<item>- )?(?P<key>\w+):(?P<default>[^#]*)(#(?P<says>.*))?")


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        key: as it is written before the `=`.
        default: as its file has it: `???` where it is required, `null` for none.
        says: the comment beside it.
        common: whether it stands before the line `# less often` of its file, if there is one.
    """

    key: str
    default: str
    says: str
    common: bool = True


def header(command: str) -> list[str]:
    """The comment that the file of a command begins with: how it is called, and what it does."""
    lines = _lines(f"{command}.yaml")
    length = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return [line.removeprefix("#").strip() for line in lines[:length]]


def settings_of(command: str) -> list[Setting]:
    """The settings of a command, those that are required first.

    A group with one file is shown with the settings of that file, a group with several as a choice.
    """
    found: list[Setting] = []
    for setting in _read(f"{command}.yaml"):
        section, _, group = setting.key.partition(".")
        if section == "hydra":
            continue
        if section != "defaults":
            found.append(setting)
        elif len(names := _names(group)) == 1:
            found += _read(f"{group}/{names[0]}.yaml", f"{group}.")
        elif names:
            found.append(Setting(group, setting.default, ", ".join(names)))
    return sorted(found, key=lambda setting: setting.default != REQUIRED)


def _read(path: str, prefix: str = "") -> list[Setting]:
    """The settings of a file, in its order; those of a section are named after it, those of one line are values."""
    found, section, common = [], "", True
    for line in _lines(path):
        common = common and line != LESS_OFTEN
        match = _LINE.match(line)
        if match is None or match["key"].startswith("_"):
            continue
        section = section if match["indent"] else ""
        default = match["default"].strip()
        if not default and not match["indent"]:
            section = f"{match['key']}."
        else:
            says = (match["says"] or "").strip()
            found.append(Setting(f"{prefix}{section}{match['key']}", default, says, common))
    return found


def _names(group: str) -> list[str]:
    """The files of a group; none where it is not a group."""
    folder = files("eigenselect.conf") / group
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir()) if folder.is_dir() else []


def _lines(path: str) -> list[str]:
    return (files("eigenselect.conf") / path).read_text(encoding="utf-8").splitlines()
