"""Is a hand-over what it was? `eigenselect check DIR [table=NEW] [json=FILE]`.

Exit codes: 0 every check passed, or was skipped with a reason; 1 one failed; 2 what was given cannot be used; 3 all is
as it was, and the newer table asks for a new selection.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from eigenselect import __version__
from eigenselect.compressors import EmbeddingTable, Payload, load
from eigenselect.export import OnnxDecoder, VerificationError, available_providers, verify_words
from eigenselect.export.verify.parity import verify
from eigenselect.selector.checking.drift import TOLERANCE, Drift, drift, pair
from eigenselect.selector.commands.configuration import MAIN_JOB, REQUIRED, settings_of
from eigenselect.selector.commands.words import settings
from eigenselect.selector.decision.record import Record, read_manifest, read_record
from eigenselect.selector.measures.moments import moments
from eigenselect.selector.measures.overlap import EOS_TOLERANCE, eos
from eigenselect.selector.measures.reconstruction import reconstruction_error_relative
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.progress import progress
from eigenselect.selector.sources import read_table
from eigenselect.selector.sources.tokens import read_tokens
from eigenselect.selector.store.output import FILES, MANIFEST, MANIFEST_VERSION, fingerprint

TABLE = [each for each in settings_of(MAIN_JOB) if each.key.startswith("table.") and each.default != REQUIRED]

READER = [setting.key.removeprefix("table.") for setting in TABLE]
"""Settings of a table beside its path."""

NEEDED = ("selection.json", "payload.safetensors", "model.onnx")
"""Without these there is nothing to check."""

WORDS = "words.onnx"

LOG_WIDTH = 160

USAGE = "eigenselect check DIR [table=NEW] [json=FILE]"


class SkippedError(Exception):
    """A check that cannot be made here, with the reason."""


@dataclass(frozen=True)
class Check:
    """One check of a folder.

    Attributes:
        name: which.
        status: passed; failed; or skipped, when it could not be made.
        says: what was found, in one sentence.
    """

    name: str
    status: Literal["passed", "failed", "skipped"]
    says: str


class Examination:
    """The checks of one folder, in order. A file that is not as it was handed over is opened by none of them.

    Attributes:
        folder: the hand-over.
        checks: what was found so far.
        drift: the verdict on a newer table, when there is one.
    """

    def __init__(self, folder: Path, newer: EmbeddingTable | None = None, tolerance: float = TOLERANCE):
        """Make every check.

        Args:
            folder: the hand-over.
            newer: a table to compare it with, its own or a newer one.
            tolerance: see `selector.checking.drift`.

        Raises:
            ValueError: the folder has no manifest that can be read, or the newer table cannot be compared.
        """
        self.folder = folder
        self.checks: list[Check] = []
        self.drift: Drift | None = None
        self._manifest = read_manifest(folder)
        self._newer = newer
        self._newer_digest = None if newer is None else table_digest(newer)
        self._changed = {*NEEDED} - {*self._manifest["files"]}
        self._record: Record | None = None
        self._payload: Payload | None = None
        self._tokens: list[str] | None = None
        self._providers: list[str] = []
        self._check("manifest", self._check_manifest)
        self._check("files", self._check_files)
        self._check("record", self._check_record, "selection.json")
        self._check("payload", self._check_payload, "selection.json", "payload.safetensors")
        if "tokens.txt" in self._manifest["files"]:
            self._check("tokens", self._check_tokens, "tokens.txt")
        self._check("providers", self._check_providers, "selection.json")
        self._check("model", self._check_model, *NEEDED)
        if WORDS in self._manifest["files"]:
            self._check("words", self._check_words, *NEEDED, "tokens.txt", WORDS)
        self._check("eos", self._check_eos, *NEEDED)
        self._compare(tolerance)

    @property
    def exit_code(self) -> int:
        """See the module."""
        if any(check.status == "failed" for check in self.checks):
            return 1
        return 3 if self.drift is not None and self.drift.verdict == "re-select" else 0

    def _check(self, name: str, work: Callable[[], str], *needs: str) -> None:
        """Do `work`, which says what it found, unless a file that it needs is not as it was handed over."""
        try:
            if changed := [file for file in needs if file in self._changed]:
                raise SkippedError(f"{', '.join(changed)} is not as it was handed over")
            check = Check(name, "passed", work())
        except SkippedError as reason:
            check = Check(name, "skipped", str(reason))
        except (ValueError, OSError, VerificationError) as error:
            check = Check(name, "failed", " ".join(str(error).split()))
        self.checks.append(check)

    def _found(self) -> tuple[Record, Payload]:
        if self._record is None or self._payload is None:
            raise SkippedError("it needs the record and the payload, which did not pass")
        return self._record, self._payload

    def _check_manifest(self) -> str:
        return f"version {MANIFEST_VERSION}, {len(self._manifest['files'])} files of {self._manifest.get('chosen')}"

    def _check_files(self) -> str:
        listed, wrong = self._manifest["files"], [f"{name} is not listed" for name in sorted(self._changed)]
        for name, entry in listed.items():
            path = self.folder / name
            told = None
            if not path.is_file():
                told = f"{name} is missing"
            elif (found := fingerprint(path)) != entry:
                kind = "bytes" if found["bytes"] != entry.get("bytes") else "sha256"
                told = f"{name} has {kind} {found[kind]}, the manifest {entry.get(kind)}"
            if told:
                self._changed.add(name)
                wrong.append(told)
        present = {name for name in FILES if (self.folder / name).exists()} - {MANIFEST}
        wrong += [f"{name} is no file of this hand-over" for name in sorted(present - {*listed})]
        if wrong:
            raise ValueError("; ".join(wrong))
        return f"{sum(entry['bytes'] for entry in listed.values()):,} bytes with the sizes and SHA-256 of the manifest"

    def _check_record(self) -> str:
        record = read_record(self.folder / "selection.json")
        said = {"chosen": record.chosen["name"], "table_digest": record.digest, "run_id": record.run_id}
        for key, value in said.items():
            if self._manifest.get(key) != value:
                raise ValueError(f"selection.json has {key} {value!r}, the manifest {self._manifest.get(key)!r}")
        self._record = record
        return f"{record.chosen['name']}, chosen for table {record.digest[:12]}... by run {record.run_id}"

    def _check_payload(self) -> str:
        if self._record is None:
            raise SkippedError("it needs the record, which did not pass")
        record, payload = self._record, load(self.folder / "payload.safetensors")
        if payload.nbytes != record.chosen["nbytes"]:
            raise ValueError(f"the payload takes {payload.nbytes} bytes, the record has {record.chosen['nbytes']}")
        if payload.nbytes > record.budget:
            raise ValueError(f"the payload takes {payload.nbytes} bytes, the budget was {record.budget}")
        if payload.n != record.n:
            raise ValueError(f"the payload has {payload.n} rows, the recorded table {record.n}")
        self._payload = payload
        return f"{payload.n} x {payload.k}, {payload.nbytes:,} bytes as recorded, of {record.budget:,} allowed"

    def _check_tokens(self) -> str:
        tokens = read_tokens(self.folder / "tokens.txt")
        if self._record is not None and len(tokens) != self._record.n:
            raise ValueError(f"tokens.txt has {len(tokens)} lines for {self._record.n} rows: line i is not id i")
        self._tokens = tokens
        return f"{len(tokens):,} tokens, line i is id i"

    def _check_providers(self) -> str:
        if self._record is None:
            raise SkippedError("it needs the record, which did not pass")
        recorded = self._record.providers
        here = available_providers()
        self._providers = [name for name in recorded if name in here] or ["CPUExecutionProvider"]
        if missing := [name for name in recorded if name not in here]:
            raise SkippedError(
                f"{', '.join(missing)}, on which it was verified, is not on this machine: "
                f"what follows is checked on {', '.join(self._providers)}"
            )
        return f"{', '.join(recorded)}, on which it was verified, is here"

    def _check_model(self) -> str:
        record, payload = self._found()
        report = verify(
            payload, self.folder / "model.onnx", np.random.default_rng(record.seed), providers=self._providers
        )
        return (
            f"{report.rows:,} rows differ from the payload by at most {report.max_abs_error:.1e}; file "
            f"{report.file_bytes:,} bytes, session {report.session_bytes / 1e6:.0f} MB, no table expanded; "
            f"on {', '.join(report.providers)}"
        )

    def _check_words(self) -> str:
        record, _ = self._found()
        if self._tokens is None or record.oov is None:
            raise ValueError(f"{WORDS} is handed over, and the record or tokens.txt does not say what it knows")
        found = verify_words(
            self.folder / "model.onnx",
            self.folder / WORDS,
            self._tokens,
            record.oov,
            np.random.default_rng(record.seed),
            self._providers,
        )
        return f"{found.rows:,} tokens give the rows of model.onnx; an unknown one: {found.oov}"

    def _check_eos(self) -> str:
        record, payload = self._found()
        table = self._original(record)
        found = moments(table, self._decoder().read, aligned=payload.aligned)
        measures = record.chosen["measures"]
        error = reconstruction_error_relative(found) if "reconstruction_error_relative" in measures else None
        compared = {"eos": (eos(found), EOS_TOLERANCE)}
        if error is not None:
            # As much as the rows may differ, which is relative to the decoded ones.
            compared["reconstruction_error_relative"] = (error, EOS_TOLERANCE * (1 + error))
        for name, (value, allowed) in compared.items():
            if not abs(value - measures[name]) <= allowed:
                raise ValueError(
                    f"{name} of model.onnx is {value:.9f}, recorded is {measures[name]:.9f}: "
                    f"they may differ by {allowed:.1e}"
                )
        told = " and ".join(f"{name} {value:.6f}" for name, (value, _) in compared.items())
        return f"{told} over all {table.n:,} rows of model.onnx, as recorded"

    def _decoder(self) -> OnnxDecoder:
        return OnnxDecoder(self.folder / "model.onnx", self._providers)

    def _original(self, record: Record) -> EmbeddingTable:
        """The table that was compressed, as given or from where it was."""
        if self._newer is not None and self._newer_digest == record.digest:
            return self._newer
        path, used = record.path, record.reader
        if not isinstance(used, dict) or not {*used} <= {*READER}:
            raise SkippedError(
                f"how the table {path} was read is not something that this program knows: give table=PATH"
            )
        try:
            with progress("reading the table", counted=False) as update:
                table = read_table(path, **used, progress=update)
        except ValueError as error:
            raise SkippedError(f"the table is not at hand ({error}): give table=PATH") from error
        if (digest := table_digest(table)) != record.digest:
            raise SkippedError(
                f"{path} is another table now, digest {digest[:12]}..., recorded is {record.digest[:12]}...: "
                f"table={path} compares it as a newer one"
            )
        return table

    def _compare(self, tolerance: float) -> None:
        """The verdict on the newer table."""
        if self._newer is None or any(check.status == "failed" for check in self.checks):
            return  # nothing to compare, or nothing worth keeping
        record, payload = self._found()
        if self._newer_digest == record.digest:
            return
        self.drift = drift(
            self._newer,
            pair(payload.n, self._tokens, self._newer),
            self._decoder().decode,
            record.chosen,
            aligned=payload.aligned,
            seed=record.seed,
            tolerance=tolerance,
        )


def show(examination: Examination, console: Console) -> None:
    """The checks and the verdict, for people."""
    grid = Grid(box=None, pad_edge=False)
    for heading in ("check", "status", ""):
        grid.add_column(heading)
    for check in examination.checks:
        grid.add_row(check.name, check.status, check.says)
    console.print(grid)
    if found := examination.drift:
        scores = Grid(box=None, pad_edge=False)
        for heading in ("against", "EOS", "rel. error"):
            scores.add_column(heading)
        against = {
            "recorded": "its own table, recorded",
            "deployed": "the newer table",
            "recompressed": "the newer table, compressed anew",
        }
        for key, told in against.items():
            values = (found.eos[key], found.reconstruction_error_relative[key])
            scores.add_row(told, *("-" if value is None else f"{value:.4f}" for value in values))
        console.print()
        console.print(scores)
        rows = found.rows
        told = ", row i for id i: the tokens of one of the tables are not known"
        if rows["by"] == "token":
            told = f" by token; {rows['new']:,} tokens are new, {rows['gone']:,} gone, {rows['moved']:,} moved"
        console.print(f"{rows['compared']:,} rows compared{told}.")
        for note in found.notes:
            console.print(f"Note: {note}.")
        console.print(f"{found.verdict}: {found.reason}.")


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect check words`."""
    given: dict[str, str] = {}
    try:
        if not words or words[0].startswith("-"):
            raise ValueError(f"give the folder of a hand-over: {USAGE}")
        given = settings(words[1:], [*settings_of("check"), *TABLE])
        tolerance = _tolerance(given)
        read_manifest(Path(words[0]))  # before a large table is read
        newer = _newer(given)
        examination = Examination(Path(words[0]), newer, tolerance)
    except ValueError as error:
        told = " ".join(str(error).split())
        print(f"error: {told}", file=sys.stderr)
        return _write(given, {"folder": words[0] if words else None, "exit_code": 2, "error": told})
    # Lines of a log are not wrapped to the 80 columns of a terminal that is not there.
    console = Console(
        stderr=given.get("json") == "-", width=None if sys.stdout.isatty() else LOG_WIDTH, highlight=False, markup=False
    )
    show(examination, console)
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
    with progress("reading the newer table", counted=False) as update:
        return read_table(given["table"], **reader, progress=update)  # type: ignore[arg-type]  # checked by the reader


def _write(given: dict[str, str], report: dict[str, Any]) -> int:
    """Write the report where `json` says; its exit code."""
    text = json.dumps(report, indent=2) + "\n"
    code: int = report["exit_code"]
    if "json" not in given:
        return code
    if given["json"] == "-":
        sys.stdout.write(text)
        return code
    try:
        Path(given["json"]).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"error: json = {given['json']} cannot be written: {error.strerror}; name another file", file=sys.stderr)
        return 2
    return code
