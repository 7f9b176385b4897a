"""The command: `eigenselect check DIR [table=NEW] [json=FILE]`. Is a hand-over what it was?

Exit codes: 0 every check passed, or was skipped with a reason; 1 one failed; 2 what was given cannot be used; 3 all is
as it was, and the newer table asks for a new selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eigenselect.compressors import EmbeddingTable
from eigenselect.selector.checking.drift import TOLERANCE
from eigenselect.selector.checking.examination import examine
from eigenselect.selector.checking.view import show
from eigenselect.selector.commands.configuration import MAIN_JOB, REQUIRED, settings_of
from eigenselect.selector.commands.words import folder_and_settings, say, write_report
from eigenselect.selector.progress import progress
from eigenselect.selector.sources import read_table
from eigenselect.selector.store.manifest import read_manifest
from eigenselect.selector.terminal import terminal
from eigenselect.version import __version__

TABLE = [each for each in settings_of(MAIN_JOB) if each.key.startswith("table.") and each.default != REQUIRED]
"""Settings of a table beside its path."""

USAGE = "check DIR [table=NEW] [json=FILE]"


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect check words`."""
    given: dict[str, str] = {}
    try:
        folder, given = folder_and_settings(words, [*settings_of("check"), *TABLE], USAGE)
        tolerance = _tolerance(given)
        read_manifest(folder)  # before a large table is read
        examination = examine(folder, _newer(given), tolerance)
    except ValueError as error:
        text = " ".join(str(error).split())
        say(text)
        return _write(given, {"folder": words[0] if words else None, "exit_code": 2, "error": text})
    show(examination, terminal(stderr=given.get("json") == "-"))
    report = {
        "folder": words[0],
        "exit_code": examination.exit_code,
        "eigenselect": __version__,
        "checks": [asdict(check) for check in examination.checks],
        "drift": asdict(examination.drift) if examination.drift else None,
    }
    return _write(given, report)


def _tolerance(given: dict[str, str]) -> float:
    try:
        tolerance = float(given.get("tolerance", TOLERANCE))
    except ValueError:
        tolerance = -1.0
    if not 0 <= tolerance <= 1:
        raise ValueError(
            f"tolerance = {given['tolerance']!r}: must be a number from 0 to 1, the EOS that staying may cost"
        )
    return tolerance


def _newer(given: dict[str, str]) -> EmbeddingTable | None:
    reader = {key.removeprefix("table."): value for key, value in given.items() if key.startswith("table.")}
    if "table" not in given:
        if reader:
            raise ValueError(f"table.{next(iter(reader))} is given without table=PATH: name the table")
        return None
    numbers = {key: _count(key, reader[key]) for key in ("dimension", "rows") if key in reader}
    with progress("reading the newer table", counted=False) as update:
        # What the other values may be, the reader checks.
        return read_table(given["table"], **reader | numbers, progress=update)  # type: ignore[arg-type]


def _count(key: str, value: str) -> int:
    if not value.isdecimal():
        raise ValueError(f"table.{key} = {value!r}: must be an integer of at least 1")
    return int(value)


def _write(given: dict[str, str], report: dict[str, Any]) -> int:
    """Write the report where `json` says; its exit code."""
    code: int = report["exit_code"]
    try:
        write_report(given.get("json"), report)
    except ValueError as error:
        say(error)
        return 2
    return code
