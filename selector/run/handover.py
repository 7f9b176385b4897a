"""From a choice to a verified hand-over: the folder of everything that the chosen candidate is delivered with.

Written beside the output folder, verified there, published to MLflow, put in its place, and only then announced.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from eigenselect.compressors.device import on_device
from eigenselect.compressors.whole import fingerprint
from eigenselect.export import HostReport, OnnxDecoder, Verification, VerificationError, load
from eigenselect.selector.decision import report
from eigenselect.selector.decision.entries import (
    LeftToConsumer,
    ModelEntry,
    StoredEntry,
    TableEntry,
    Verified,
    WordsEntry,
)
from eigenselect.selector.decision.page import Beside, write_page
from eigenselect.selector.decision.record import FILE, Decision
from eigenselect.selector.measures.moments import Moments, moments
from eigenselect.selector.measures.overlap import eos, eos_tolerance
from eigenselect.selector.measures.portrait import portrait
from eigenselect.selector.pool.zero_rows import fate
from eigenselect.selector.run.job import Assignment, Job, profile
from eigenselect.selector.run.selecting import Chosen
from eigenselect.selector.sources.tokens import write_id_map, write_tokens
from eigenselect.selector.store.manifest import write_manifest
from eigenselect.selector.store.model import log_model
from eigenselect.selector.store.registry import register
from eigenselect.selector.store.runs import ParentRun


@dataclass(frozen=True)
class Written:
    """What was written of the chosen payload, each part verified by the function that wrote it.

    Attributes:
        verification: of `model.onnx`, row by row.
        left_to_consumer: the decode matrix, where there is one.
        words: the model that takes tokens, where it is asked for.
        host: the rewritten host, where there is one.
        model: the model that the table is of, where it is handed over too.
    """

    verification: Verification
    left_to_consumer: LeftToConsumer | None
    words: WordsEntry | None
    host: HostReport | None
    model: ModelEntry | None


def hand_over(job: Assignment, parent: ParentRun, found: Chosen, folder: Path) -> tuple[Decision, str]:
    """Write, verify and publish the choice; the decision, and the id of the logged model.

    Args:
        job: what was asked.
        parent: the run of the selection.
        found: the choice.
        folder: what takes the place of the output folder.

    Raises:
        VerificationError: a model is not what was chosen; nothing is handed over.
    """
    decision = deliver(job, parent.run_id, found, folder)
    return decision, publish(decision, parent, folder)


def deliver(job: Assignment, run_id: str, found: Chosen, folder: Path) -> Decision:
    """Write the choice and all that belongs to it to `folder`, verified; the decision.

    Raises:
        VerificationError: a model is not what was chosen; nothing is handed over.
    """
    written = write(job, found, folder)
    verified, exported = verify(job, found, written, folder)
    decision = Decision.of(
        found.selection,
        table=_table(job, found),
        verification=verified,
        seed=job.seed,
        run_id=run_id,
        left_to_consumer=written.left_to_consumer,
        words=written.words,
        host=written.host,
        model=written.model,
        use=job.settings.use,
    )
    describe(decision, job, found, exported, folder)
    return decision


def write(job: Assignment, found: Chosen, folder: Path) -> Written:
    """Write the payload, and the models and lists that are made of it."""
    model, tokens = folder / "model.onnx", job.table.tokens
    verification = job.export(found.payload, model, _rng(job))
    found.payload.save(folder / "payload.safetensors")
    words = host = None
    if tokens is not None:
        write_tokens(folder / "tokens.txt", tokens)
        if job.table.source_rows is not None:
            write_id_map(folder / "id_map.csv", job.table.source_rows, tokens)
        if job.export.words:
            words = WordsEntry(**asdict(job.export.write_words(model, folder / "words.onnx", tokens, _rng(job))))
    if job.host is not None:
        recorded = found.selection.chosen.measures.get("reconstruction_error_relative")
        host = job.export.rewrite(job.host, found.payload, folder / "host.onnx", recorded, job.export.kept(job.table))
    whole = None if job.form is None else job.form.write(job.table, found.payload, job.export, folder, _rng(job))
    return Written(verification, _write_matrix(job, found, folder / "decode_matrix.npy"), words, host, whole)


def _write_matrix(job: Assignment, found: Chosen, path: Path) -> LeftToConsumer | None:
    matrix = found.compressor.decode_matrix(job.table, _rng(job))
    if matrix is None:
        return None
    np.save(path, matrix)
    return LeftToConsumer(file=path.name, shape=list(matrix.shape), nbytes=matrix.nbytes)


def _rng(job: Assignment) -> np.random.Generator:
    """Each step draws from the beginning, so that none depends on another."""
    return np.random.default_rng(job.seed)


def verify(job: Assignment, found: Chosen, written: Written, folder: Path) -> tuple[Verified, Moments]:
    """What was verified, with the EOS of all rows of the exported model; and the moments that this follows from.

    Raises:
        VerificationError: it is not that of the candidate.
    """
    chosen = found.selection.chosen
    model = OnnxDecoder(folder / "model.onnx", job.export.verified_on[-1])
    with on_device(job.device):
        rows = moments(job.table, model.read)
    exported = eos(rows)
    allowed = eos_tolerance(job.export.output)
    if not abs(exported - chosen.measures["eos"]) <= allowed:
        cure = "; export.output=float32 does not round its rows" if job.export.output == "float16" else ""
        raise VerificationError(
            f"the exported model's EOS is {exported:.9f}, that of {chosen.name} was {chosen.measures['eos']:.9f}: "
            f"they may differ by {allowed:.2g}; not handed over{cure}"
        )
    return Verified(**asdict(written.verification), eos_from_onnx=exported), rows


def _table(job: Assignment, found: Chosen) -> TableEntry:
    reader = dict(vars(job.settings.table))
    zeros = fate(job.table, found.compressor, found.payload)
    return TableEntry(
        path=reader.pop("path"),
        **profile(job),
        zero_rows=zeros,
        stored=StoredEntry.of(job.table, found.selection.chosen.nbytes),
        remarks=[*job.table.remarks],
        digest=job.digest,
        settings=reader,
    )


def describe(decision: Decision, job: Assignment, found: Chosen, exported: Moments, folder: Path) -> None:
    """Write what is said of the choice, the manifest last; `exported` are the moments of the model's own rows."""
    chosen = found.selection.chosen
    columns = [*job.keys, *chosen.standard_errors, *chosen.costs]
    (folder / FILE).write_text(decision.text(), encoding="utf-8")
    report.write_csv(folder / "candidates.csv", found.candidates, columns)
    report.write_picture(folder / "pareto.png", found.selection, found.candidates)
    beside = Beside(
        portrait=portrait(exported, job.table, found.payload),
        float32_bytes=4 * job.table.n * job.table.d,
        command=shlex.join(["eigenselect", *job.settings.words]),
        fitted=job.settings.candidates.largest is not None,
    )
    write_page(folder / "report.html", found.selection, found.candidates, decision.text(), beside)
    write_manifest(folder, decision)


def publish(decision: Decision, parent: ParentRun, folder: Path) -> str:
    """Log the choice, its files and its model; the id of the logged model."""
    parent.log_choice(decision, folder)
    model = folder / "model.onnx"
    return log_model(parent, load(model, data=False), model, fingerprint(model)["sha256"], decision)


def register_choice(decision: Decision, job: Job, parent: ParentRun, model_id: str, console: Console) -> None:
    """Make the logged model the next version of the registered one, if one is named, and print how it is reached."""
    name, alias = job.settings.tracking.register, job.settings.tracking.alias
    if name is None:
        return
    number, pointed = register(parent, model_id, name, alias, decision)
    model_uri = f"models:/{name}@{alias}"
    lines = [
        f"\nRegistered: version {number} of {name}, which {alias} now points to"
        if pointed == number
        else f"\nRegistered: version {number} of {name}; {alias} stays at version {pointed}, which was made meanwhile",
        f"Load:  mlflow.pyfunc.load_model({model_uri!r}).predict({{'ids': ids}})",
        f"Serve: mlflow models serve -m {shlex.quote(model_uri)} --env-manager local --port 5001",
    ]
    console.print("\n".join(lines), soft_wrap=True, markup=False)
