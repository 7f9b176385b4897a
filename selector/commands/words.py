"""The words of a command line: `key=value` in the grammar of Hydra for every command, and what is said of mistakes."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException

from eigenselect.selector.commands.configuration import REQUIRED, Setting
from eigenselect.selector.pool.build import suggestion
from eigenselect.selector.terminal import warn

JOB = "--job"
"""First word of a process that has one job of a sweep (`launched.py`): it reads the job from stdin, and the next word
is a folder for its answer."""


def say(problem: BaseException | str) -> None:
    """One line on stderr."""
    warn(f"error: {problem}")


def write_report(path: str | None, report: Mapping[str, Any]) -> None:
    """Write a report as JSON to the file `path`, or to stdout where it is `-`; None writes nothing.

    Raises:
        ValueError: it cannot be written there.
    """
    if path is None:
        return
    text = json.dumps(report, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"json = {path} cannot be written: {error.strerror}; name another file") from error


def settings(words: Sequence[str], known: Sequence[Setting]) -> dict[str, str]:
    """What `key=value` words say, by key. A value is text: as it stands, or in quotes that are taken off.

    Raises:
        ValueError: a word is not of that form, its key is not `known` or is given twice, or a required one is missing.
    """
    keys = [setting.key for setting in known]
    found: dict[str, str] = {}
    for word in words:
        if word.startswith("-"):
            raise ValueError(f"there is no flag {word}: settings are written key=value")
        override = _parsed(word)
        key = override.key_or_group
        if override.type is not OverrideType.CHANGE or override.package is not None or key not in keys:
            raise ValueError(f"there is no setting {word.partition('=')[0]}: {suggestion(key, keys)}")
        if key in found:
            raise ValueError(f"{key} is given twice: give it once")
        found[key] = _text(override, word)
    if missing := [each.key for each in known if each.default == REQUIRED and each.key not in found]:
        raise ValueError(f"required and not given: {', '.join(f'{key}=...' for key in missing)}")
    return found


def folder_and_settings(words: Sequence[str], known: Sequence[Setting], usage: str) -> tuple[Path, dict[str, str]]:
    """The folder of a hand-over and the `settings` after it, of a command that is called like `usage`.

    Raises:
        ValueError: there is no folder, or the settings cannot be used.
    """
    if words and words[0].startswith("-"):
        raise ValueError(f"there is no flag {words[0]}: eigenselect {usage}")
    if not words:
        raise ValueError(f"give the folder of a hand-over: eigenselect {usage}")
    return Path(words[0]), settings(words[1:], known)


def _parsed(word: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        raise ValueError(unreadable(word)) from error
    return override


def _text(override: Override, word: str) -> str:
    """The value as text: a number is what was written, `007` say, and not what it amounts to."""
    value = override.value()
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | None):
        return word.partition("=")[2]
    raise ValueError(unreadable(word))


def unreadable(word: str) -> str:
    """What is said of a word that the grammar does not have, with the cure."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"{word!r} is not understood: settings are written key=value"
    in_a_list = ", or in a list each of its texts" if value.startswith(("[", "{")) else ""
    return f"{word} cannot be read: quote the value, {_quoted(key, value)}{in_a_list}"


def _quoted(key: str, value: str) -> str:
    """A setting as a shell takes it, with its value as text."""
    escaped = value.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


FLAGS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--multirun", "-m"): {"action": "store_true"},
    ("--shell-completion", "-sc"): {"action": "store_true"},
    ("--cfg", "-c"): {"choices": ("job", "hydra", "all")},
    ("--resolve",): {"action": "store_true"},
    ("--package", "-p"): {},
    ("--config-dir", "-cd"): {},
}
"""The flags of Hydra that make sense here."""


class _Flags(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}: eigenselect --help says what there is")


@dataclass(frozen=True)
class Flags:
    """What the flags of a command line say; None and False for those that are not there."""

    multirun: bool
    shell_completion: bool
    cfg: str | None
    resolve: bool
    package: str | None
    config_dir: str | None


def flags(words: Sequence[str]) -> tuple[Flags, list[str]]:
    """The flags of a command line, and its other words.

    Raises:
        ValueError: an unknown flag, or one without its value.
    """
    parser = _Flags(prog="eigenselect", add_help=False, allow_abbrev=False)
    for names, takes in FLAGS.items():
        parser.add_argument(*names, **takes)
    given, rest = parser.parse_known_args(words)
    for word in rest:
        if word.startswith("-"):
            if "=" in word:
                raise ValueError(f"there is no flag {word}: settings have no dashes: {word.lstrip('-')}")
            known = ["--help", "--version", *(name for names in FLAGS for name in names)]
            raise ValueError(f"there is no flag {word}: {suggestion(word, known)}")
    return Flags(**vars(given)), rest


def hydra_flags(given: Flags) -> list[str]:
    """Flags for Hydra's own parser, which wants them before the other words."""
    named = {f"--{name.replace('_', '-')}": value for name, value in asdict(given).items() if value}
    return [flag if value is True else f"{flag}={value}" for flag, value in named.items()]


def as_changes(words: Iterable[str]) -> list[str]:
    """Words that set to null what they delete: Hydra then says more of a name that is not there."""
    return [re.sub(r"^~([^=]*).*", r"\1=null", word) for word in words]


def reason(error: Exception) -> str:
    """What an error of Hydra comes from, with the cure."""
    if isinstance(error, OverrideParseException):
        return unreadable(error.override)
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group} = {name!r} is not there: {suggestion(name, error.options)}"
    if isinstance(error, HydraException) and getattr(error.__cause__, "full_key", None):
        return _unknown(error.__cause__)
    if several := re.match("Ambiguous value for argument '(.*)'", str(error)):
        key, _, values = several[1].partition("=")
        return f"{several[1]} has several values: -m makes a run of each, and {_quoted(key, values)} is one text"
    return str(error)


def _unknown(cause: Any) -> str:
    """What is said of a key that is not in the configuration, from the error of its library."""
    group, _, name = cause.full_key.rpartition(".")
    known = [key for key in map(str, cause.parent_node) if not key.startswith("_") and key != "hydra"]
    cure = suggestion(name, known, f"{group}." if group else "") if known else f"{group} is a value"
    return f"there is no setting {cause.full_key}: {cure}"
