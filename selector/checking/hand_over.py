"""A hand-over as it is read again: every part that is as it was handed over, or why it was not taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eigenselect.compressors import Payload, load
from eigenselect.compressors.whole import MANIFEST, fingerprint
from eigenselect.selector.decision.record import FILE, Decision, read_decision
from eigenselect.selector.sources.tokens import read_tokens
from eigenselect.selector.store.manifest import read_manifest
from eigenselect.selector.store.output import FILES

PAYLOAD, MODEL, TOKENS, WORDS = "payload.safetensors", "model.onnx", "tokens.txt", "words.onnx"

NEEDED = (FILE, PAYLOAD, MODEL)
"""Without these there is nothing to check."""

T = TypeVar("T")


class SkippedError(Exception):
    """A check that cannot be made here, with the reason."""


@dataclass(frozen=True)
class NotTaken:
    """A part that cannot be read, or contradicts another: the error that says so."""

    error: Exception


def taken(part: T | NotTaken) -> T:
    """The part, or its error raised."""
    if isinstance(part, NotTaken):
        raise part.error
    return part


def needed(decision: Decision | NotTaken) -> Decision:
    """The decision, for a check of something else; raises a SkippedError without it."""
    if isinstance(decision, NotTaken):
        raise SkippedError("it needs the record, which did not pass")
    return decision


@dataclass(frozen=True)
class HandOver:
    """What was read of a folder. A file that is not as it was handed over is not opened.

    Attributes:
        folder: where it is.
        manifest: what it should hold.
        differences: files that are not as the manifest has them, each with what is wrong.
        decision: the record, which agrees with the manifest.
        payload: the payload, which agrees with the record.
        tokens: those of the table, as many as its rows; None where none were handed over.
    """

    folder: Path
    manifest: Mapping[str, Any]
    differences: list[tuple[str, str]]
    decision: Decision | NotTaken
    payload: Payload | NotTaken
    tokens: Sequence[str] | NotTaken | None

    @property
    def model(self) -> Path:
        """The ONNX model."""
        return self.folder / MODEL


def read(folder: Path) -> HandOver:
    """Read a hand-over.

    Raises:
        ValueError: it has no manifest that can be read.
    """
    manifest = read_manifest(folder)
    differences = changed_files(folder, manifest["files"])

    def part(take: Callable[[], T], *needs: str) -> T | NotTaken:
        try:
            check_unchanged(differences, needs)
            return take()
        except (SkippedError, ValueError, OSError) as error:
            return NotTaken(error)

    decision = part(lambda: _decision(folder, manifest), FILE)
    return HandOver(
        folder=folder,
        manifest=manifest,
        differences=differences,
        decision=decision,
        payload=part(lambda: _payload(folder, decision), FILE, PAYLOAD),
        tokens=part(lambda: _tokens(folder, decision), TOKENS) if TOKENS in manifest["files"] else None,
    )


def check_unchanged(differences: list[tuple[str, str]], files: tuple[str, ...]) -> None:
    """Raise a SkippedError unless the files are as they were handed over."""
    changed = {name for name, _ in differences}
    if found := [name for name in files if name in changed]:
        raise SkippedError(f"{', '.join(found)} is not as it was handed over")


def changed_files(folder: Path, listed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Files of `folder` that are not as its manifest has `listed` them, each with what is wrong."""
    missing = sorted({*NEEDED} - {*listed})
    other = sorted(name for name in {*FILES} - {MANIFEST, *listed} if (folder / name).exists())
    return [
        *((name, f"{name} is not listed") for name in missing),
        *((name, found) for name, entry in listed.items() if (found := _difference(folder / name, entry))),
        *((name, f"{name} is not a file of this hand-over") for name in other),
    ]


def _difference(path: Path, entry: Mapping[str, Any]) -> str | None:
    """What is wrong with a file of which the manifest says `entry`."""
    if not path.is_file():
        return f"{path.name} is missing"
    if (found := fingerprint(path)) == entry:
        return None
    kind = "bytes" if found["bytes"] != entry.get("bytes") else "sha256"
    return f"{path.name} has {kind} {found[kind]}, the manifest {entry.get(kind)}"


def _decision(folder: Path, manifest: Mapping[str, Any]) -> Decision:
    decision = read_decision(folder / FILE)
    named = {"chosen": decision.chosen.name, "table_digest": decision.table.digest, "run_id": decision.run_id}
    for key, value in named.items():
        if manifest.get(key) != value:
            raise ValueError(f"{FILE} has {key} {value!r}, the manifest {manifest.get(key)!r}")
    return decision


def _payload(folder: Path, decision: Decision | NotTaken) -> Payload:
    decision = needed(decision)
    payload, recorded = load(folder / PAYLOAD), decision.chosen.nbytes
    if payload.nbytes != recorded:
        raise ValueError(f"the payload takes {payload.nbytes} bytes, the record has {recorded}")
    if payload.nbytes > decision.budget_bytes:
        raise ValueError(f"the payload takes {payload.nbytes} bytes, the budget was {decision.budget_bytes}")
    if payload.n != decision.table.n:
        raise ValueError(f"the payload has {payload.n} rows, the recorded table {decision.table.n}")
    return payload


def _tokens(folder: Path, decision: Decision | NotTaken) -> Sequence[str]:
    tokens = read_tokens(folder / TOKENS)
    if not isinstance(decision, NotTaken) and len(tokens) != decision.table.n:
        raise ValueError(f"{TOKENS} has {len(tokens)} lines for {decision.table.n} rows: line i is not id i")
    return tokens
