"""From a choice to a verified hand-over: its files, its run, and what is printed of it."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from eigenselect.compressors import Compressor, Payload, __version__
from eigenselect.export import HostReport, OnnxDecoder, Verification, VerificationError, load
from eigenselect.selector.decision import report
from eigenselect.selector.decision.selection import Candidate, Selection, margin, tied
from eigenselect.selector.measures.moments import moments
from eigenselect.selector.measures.overlap import EOS_TOLERANCE, eos
from eigenselect.selector.run.job import Job, profile
from eigenselect.selector.store.output import staged, write_id_map, write_manifest
from eigenselect.selector.store.tracking import ParentRun

VERSIONS = ("numpy", "scipy", "onnx", "onnxruntime", "mlflow", "hydra-core")


def hand_over(
    job: Job,
    parent: ParentRun,
    selection: Selection,
    candidates: Sequence[Candidate],
    compressor: Compressor,
    payload: Payload,
    console: Console,
) -> None:
    """Write, verify and only then publish the files."""
    chosen = selection.chosen
    with staged(job.out) as folder:
        model = folder / "model.onnx"
        verification = job.export(payload, model, np.random.default_rng(job.settings.seed))
        exported = eos(moments(job.table, OnnxDecoder(model, job.export.verified_on[-1]).read))
        if not abs(exported - chosen.measures["eos"]) <= EOS_TOLERANCE:
            raise VerificationError(
                f"the exported model's EOS is {exported:.9f}, that of {chosen.name} was {chosen.measures['eos']:.9f}: "
                f"they may differ by {EOS_TOLERANCE}; not handed over"
            )
        payload.save(folder / "payload.safetensors")
        if job.table.tokens is not None:
            (folder / "tokens.txt").write_text("".join(f"{token}\n" for token in job.table.tokens), encoding="utf-8")
            if job.table.source_rows is not None:
                write_id_map(folder / "id_map.csv", job.table.source_rows, job.table.tokens)
        record = _record(job, parent, selection, verification, exported)
        if job.export.words and job.table.tokens is not None:
            words = job.export.write_words(
                model, folder / "words.onnx", job.table.tokens, np.random.default_rng(job.settings.seed)
            )
            record["words"] = {
                **asdict(words),
                "use": "tokens (batch,) string -> vectors; its strings are not charged to the budget",
            }
        rewritten = _rewrite_host(job, payload, folder / "host.onnx", chosen)
        if rewritten is not None:
            record["host"] = asdict(rewritten)
        matrix = compressor.decode_matrix(job.table, np.random.default_rng(job.settings.seed))
        if matrix is not None:
            np.save(folder / "decode_matrix.npy", matrix)
            record["chosen"]["left_to_consumer"] = {
                "file": "decode_matrix.npy",
                "shape": list(matrix.shape),
                "nbytes": matrix.nbytes,
                "use": "vectors @ matrix is the table; none of its bytes are charged",
            }
        (folder / "selection.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        report.write_csv(folder / "candidates.csv", candidates, [*job.measures.keys, *chosen.standard_errors])
        report.write_picture(folder / "pareto.png", selection, candidates)
        report.write_page(folder / "report.html", selection, candidates, record)
        write_manifest(folder, record)
        parent.log_choice(
            metrics={
                "bytes": chosen.nbytes,
                "megabytes": chosen.nbytes / 1e6,
                **chosen.measures,
                **chosen.standard_errors,
            },
            tags={"chosen": chosen.name, "table_digest": job.digest},
            description=f"**{chosen.name}**\n\n{report.why(selection)}",
            files=folder,
        )
        model_id = parent.log_model(load(model), record)
    if job.rank < job.table.d:
        console.print(f"The table's rank is {job.rank} of {job.table.d} columns.")
    report.print_ranking(console, selection, 4 * job.table.n * job.table.d)
    over = sum(c.status == "over_budget" for c in candidates)
    console.print(f"\n{report.why(selection)}")
    if matrix is not None:
        console.print(
            f"It decodes to coordinates of its own: decode_matrix.npy, {matrix.shape[0]} x {matrix.shape[1]} and not "
            "charged to its bytes, is for the layer that takes the vectors."
        )
    if job.export.target == "cuda" and "CUDAExecutionProvider" not in verification.providers:
        console.print("The model is made for CUDA and was verified on the CPU alone: there is no CUDA provider here.")
    console.print(
        f"Verified in ONNX Runtime: {verification.rows:,} rows differ from numpy by at most "
        f"{verification.max_abs_error:.1e}, EOS of the whole exported table {exported:.4f}, "
        f"file {verification.file_bytes:,} bytes, session {verification.session_bytes / 1e6:.0f} MB."
    )
    if rewritten is not None:
        console.print(f"host.onnx: {rewritten}", soft_wrap=True)
    console.print(f"{over} of {len(candidates)} candidates are over the budget and were not computed.")
    console.print(f"\nFiles: {job.out}", soft_wrap=True)
    console.print(f"UI:    {parent.address}", soft_wrap=True)
    if (name := job.settings.tracking.register) is not None:
        alias = job.settings.tracking.alias
        number = parent.register(model_id, name, alias, record, report.why(selection))
        model_uri = f"models:/{name}@{alias}"
        lines = [
            f"\nRegistered: version {number} of {name}, which {alias} now points to",
            f"Load:  mlflow.pyfunc.load_model({model_uri!r}).predict({{'ids': ids}})",
            f"Serve: mlflow models serve -m {shlex.quote(model_uri)} --env-manager local --port 5001",
        ]
        console.print("\n".join(lines), soft_wrap=True, markup=False)


def _rewrite_host(job: Job, payload: Payload, path: Path, chosen: Candidate) -> HostReport | None:
    if job.host is None:
        return None
    return job.export.rewrite(job.host, payload, path, chosen.measures.get("reconstruction_error_relative"))


def _record(
    job: Job, parent: ParentRun, selection: Selection, verification: Verification, exported_eos: float
) -> dict[str, Any]:
    """The decision, as `selection.json` holds it."""

    def told(candidate: Candidate) -> dict[str, Any]:
        return {
            "name": candidate.name,
            "compressor": candidate.compressor,
            "parameters": candidate.parameters,
            "nbytes": candidate.nbytes,
            "measures": candidate.measures | candidate.standard_errors,
        }

    chosen, runner_up, criterion = selection.chosen, selection.runner_up, selection.criterion

    return {
        "chosen": told(chosen),
        "runner_up": runner_up
        and {
            **told(runner_up),
            "tie": tied(chosen, runner_up, criterion),
            "margin": margin(chosen, runner_up, criterion),
        },
        "rejected": [{"name": candidate.name, "reason": reason} for candidate, reason in selection.rejected],
        "budget_bytes": job.budget,
        "criterion": criterion,
        "criteria": {
            a.criterion: {
                "chosen": a.best.name,
                "value": a.best.measures[a.criterion],
                "value_of_choice": chosen.measures.get(a.criterion),
                "rank_of_choice": a.rank,
                "ranked": a.ranked,
                "tie": a.tie,
            }
            for a in selection.alternatives
        },
        "sensitive_to": [a.criterion for a in selection.disagreeing],
        "table": {
            "path": job.settings.table.path,
            **profile(job),
            "digest": job.digest,
            "settings": {name: value for name, value in vars(job.settings.table).items() if name != "path"},
        },
        "verification": {**asdict(verification), "eos_from_onnx": exported_eos},
        "seed": job.settings.seed,
        "versions": {
            "eigenselect": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in VERSIONS},
        },
        "run_id": parent.run_id,
    }
