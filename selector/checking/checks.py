"""The checks of a hand-over: each a function of what was read of it, which says in one sentence what it found."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec

import numpy as np

from eigenselect.compressors import EmbeddingTable, Payload
from eigenselect.export import OnnxDecoder, VerificationError, available_providers, verify, verify_words
from eigenselect.selector.checking.hand_over import (
    NEEDED,
    TOKENS,
    WORDS,
    HandOver,
    NotTaken,
    SkippedError,
    check_unchanged,
    needed,
    taken,
)
from eigenselect.selector.decision.entries import TableEntry
from eigenselect.selector.decision.record import FILE, Decision
from eigenselect.selector.forms import FORMS
from eigenselect.selector.measures.moments import moments
from eigenselect.selector.measures.overlap import eos, eos_tolerance
from eigenselect.selector.measures.reconstruction import reconstruction_error_relative
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.progress import progress
from eigenselect.selector.sources import read_table
from eigenselect.selector.sources.pipe import is_pipe
from eigenselect.selector.store.manifest import MANIFEST_VERSION

READER = [name for name in inspect.signature(read_table).parameters if name not in ("path", "progress")]
"""Settings of a table beside its path."""

P = ParamSpec("P")


@dataclass(frozen=True)
class Check:
    """One check of a hand-over.

    Attributes:
        name: which.
        status: passed; failed; or skipped, when it could not be made.
        says: what was found, in one sentence.
    """

    name: str
    status: Literal["passed", "failed", "skipped"]
    says: str


def check(
    name: str, *needs: str
) -> Callable[[Callable[Concatenate[HandOver, P], str]], Callable[Concatenate[HandOver, P], Check]]:
    """Make a check of a function that says what it found, or raises what is wrong.

    Args:
        name: of the check.
        needs: files without which, as they were handed over, it is not made.
    """

    def make(work: Callable[Concatenate[HandOver, P], str]) -> Callable[Concatenate[HandOver, P], Check]:
        @wraps(work)
        def checked(given: HandOver, /, *args: P.args, **kwargs: P.kwargs) -> Check:
            try:
                check_unchanged(given.differences, needs)
                return Check(name, "passed", work(given, *args, **kwargs))
            except SkippedError as reason:
                return Check(name, "skipped", str(reason))
            except (ValueError, OSError, VerificationError) as error:
                return Check(name, "failed", " ".join(str(error).split()))

        return checked

    return make


@check("manifest")
def check_manifest(given: HandOver) -> str:
    """It was readable, or nothing would be checked."""
    return f"version {MANIFEST_VERSION}, {len(given.manifest['files'])} files of {given.manifest.get('chosen')}"


@check("files")
def check_files(given: HandOver) -> str:
    """Every file that is listed is as it was, and no other file of a hand-over is there."""
    if given.differences:
        raise ValueError("; ".join(wrong for _, wrong in given.differences))
    total = sum(entry["bytes"] for entry in given.manifest["files"].values())
    return f"{total:,} bytes with the sizes and SHA-256 of the manifest"


@check("record")
def check_record(given: HandOver) -> str:
    """The decision is readable, and the one that the manifest names."""
    decision = taken(given.decision)
    return f"{decision.chosen.name}, chosen for table {decision.table.digest[:12]}... by run {decision.run_id}"


@check("payload")
def check_payload(given: HandOver) -> str:
    """The payload is of a format that this program knows, and what the record says."""
    payload, decision = taken(given.payload), needed(given.decision)
    return f"{payload.n:,} x {payload.k:,}, {payload.nbytes:,} bytes as recorded, of {decision.budget_bytes:,} allowed"


@check("tokens")
def check_tokens(given: HandOver) -> str:
    """There is one for each row."""
    return f"{len(taken(given.tokens) or []):,} tokens, line i is id i"


@check("providers", FILE)
def check_providers(given: HandOver) -> str:
    """What the model was verified on is here."""
    recorded = needed(given.decision).verification.providers
    here = available_providers()
    if missing := [name for name in recorded if name not in here]:
        raise SkippedError(
            f"{', '.join(missing)}, on which it was verified, is not on this machine: "
            f"what follows is checked on {', '.join(providers(given))}"
        )
    return f"{', '.join(recorded)}, on which it was verified, is here"


def providers(given: HandOver) -> list[str]:
    """Execution providers of this machine that the model was verified on, or the CPU."""
    here = available_providers()
    return [name for name in needed(given.decision).verification.providers if name in here] or ["CPUExecutionProvider"]


def _content(given: HandOver) -> tuple[Decision, Payload]:
    """The decision and the payload; raises a SkippedError without one of them."""
    if isinstance(given.decision, NotTaken) or isinstance(given.payload, NotTaken):
        raise SkippedError("it needs the record and the payload, which did not pass")
    return given.decision, given.payload


@check("model", *NEEDED)
def check_model(given: HandOver) -> str:
    """It gives the rows of the payload, within the limits of the export."""
    decision, payload = _content(given)
    rng, output = np.random.default_rng(decision.seed), decision.verification.output
    report = verify(payload, given.model, rng, providers(given), output)  # type: ignore[arg-type]  # compared there
    return (
        f"{report.rows:,} rows differ from the payload by at most {report.max_abs_error:.1e}; file "
        f"{report.file_bytes:,} bytes, session {report.session_bytes / 1e6:.0f} MB, no table expanded; "
        f"on {', '.join(report.providers)}"
    )


@check("words", *NEEDED, TOKENS, WORDS)
def check_words(given: HandOver) -> str:
    """The model that takes tokens gives the rows of the other."""
    decision, _ = _content(given)
    if given.tokens is None or isinstance(given.tokens, NotTaken) or decision.words is None:
        raise ValueError(f"{WORDS} is handed over, and the record or {TOKENS} does not say what it knows")
    rng, oov = np.random.default_rng(decision.seed), decision.words.oov
    found = verify_words(given.model, given.folder / WORDS, given.tokens, oov, rng, providers(given))
    return f"{found.rows:,} tokens give the rows of model.onnx; an unknown one: {found.oov}"


@check("model form", *NEEDED)
def check_form(given: HandOver) -> str:
    """The model whose table was compressed holds the payload, and gives what it gave."""
    decision, payload = _content(given)
    form = None if decision.model is None else FORMS.get(decision.model.form)
    if form is None:
        raise ValueError(f"its files are handed over, and the record has no model of the forms {', '.join(FORMS)}")
    check_unchanged(given.differences, form.files)
    return form.verify(given.folder, payload, providers(given), np.random.default_rng(decision.seed))


@check("eos", *NEEDED)
def check_eos(given: HandOver, table: EmbeddingTable | None) -> str:
    """The scores of all rows of the model are the recorded ones, against `table`, or that of the record read again."""
    decision, payload = _content(given)
    table = _original(decision.table) if table is None else table
    measures = decision.chosen.measures
    found = moments(table, decoder(given).read, aligned=payload.aligned)
    tolerance = eos_tolerance(decision.verification.output)
    compared = {"eos": (eos(found), tolerance)}
    error = reconstruction_error_relative(found) if "reconstruction_error_relative" in measures else None
    if error is not None:
        # As much as the rows may differ, which is relative to the decoded ones.
        compared["reconstruction_error_relative"] = (error, tolerance * (1 + error))
    for name, (value, allowed) in compared.items():
        if not abs(value - measures[name]) <= allowed:
            raise ValueError(
                f"{name} of model.onnx is {value:.9f}, recorded is {measures[name]:.9f}: "
                f"they may differ by {allowed:.1e}"
            )
    scores = " and ".join(f"{name} {value:.6f}" for name, (value, _) in compared.items())
    return f"{scores} over all {table.n:,} rows of model.onnx, as recorded"


def decoder(given: HandOver) -> OnnxDecoder:
    """The model, to be read by rows."""
    return OnnxDecoder(given.model, providers(given))


def _original(recorded: TableEntry) -> EmbeddingTable:
    """The table that was compressed, from where it was."""
    path, used = recorded.path, recorded.settings
    if not {*used} <= {*READER}:
        raise SkippedError(f"how the table {path} was read is not something that this program knows: give table=PATH")
    if is_pipe(Path(path)):
        raise SkippedError(f"the table is not at hand (it came through a pipe, {path}): give table=PATH")
    try:
        with progress("reading the table", counted=False) as update:
            table = read_table(path, **used, progress=update)
    except ValueError as error:
        raise SkippedError(f"the table is not at hand ({error}): give table=PATH") from error
    if (digest := table_digest(table)) != recorded.digest:
        raise SkippedError(
            f"{path} is another table now, digest {digest[:12]}..., recorded is {recorded.digest[:12]}...: "
            f"table={path} compares it as a newer one"
        )
    return table
