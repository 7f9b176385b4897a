"""The main job: from a table and a budget to a verified hand-over."""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from compressors import Compressor, EmbeddingTable, ExactRows, Payload, __version__
from compressors.exact_rows import exact_nbytes
from compressors.training import progress
from export import HostReport, OnnxDecoder, OnnxExport, Verification, VerificationError, load
from selector import report
from selector.budget import Budget
from selector.candidates import Room, exact_rows, expand, parameters
from selector.digest import candidate_key, table_digest
from selector.measures import Measures
from selector.measures.overlap import EOS_TOLERANCE, eos
from selector.moments import moments, table_rank
from selector.output import check_writable, staged, write_id_map, write_manifest
from selector.selection import Candidate, Selection, margin, rank_key, select, tied
from selector.sources import format_of_file
from selector.tracking import ParentRun, Tracker, check_registration, connect

LEFT_OUT_TOLD = 5
"""Settings that were left out of which the reason is printed."""

SETTINGS = {
    "table",
    "candidates",
    "export",
    "exact_rows",
    "budget",
    "out",
    "criterion",
    "seed",
    "allowed_failures",
    "measures",
    "tracking",
}
"""Every setting. What Hydra lets a user add with a + beside them would be ignored, so it is refused."""

TRACKING = {"experiment", "resume", "register", "alias"}

VERSIONS = ("numpy", "scipy", "onnx", "onnxruntime", "mlflow", "hydra-core")


class TooManyFailedError(Exception):
    """More candidates failed than `allowed_failures` admits."""


@dataclass(frozen=True)
class Job:
    """Everything that a run rests on, read and checked.

    Attributes:
        settings: the resolved configuration.
        table: the table.
        digest: of the table.
        rank: numerical rank of the table.
        budget: bytes.
        compressors: the candidates' methods with the exact bytes of each.
        left_out: settings that cannot be used on the table, or cannot do what the host or `exact_rows` ask for, each
            with why.
        measures: what is measured.
        export: the target.
        host: an ONNX model that is handed over with the chosen payload in it, or None.
        out: folder of the hand-over.
        tracker: the tracking store.
    """

    settings: DictConfig
    table: EmbeddingTable
    digest: str
    rank: int
    budget: int
    compressors: list[tuple[Compressor, int]]
    left_out: list[str]
    measures: Measures
    export: OnnxExport
    host: Path | None
    out: Path
    tracker: Tracker


def prepare(settings: DictConfig) -> Job:
    """Read and check everything that comes from the user, the cheap things first.

    Raises:
        ValueError: any of it cannot be used.
    """
    OmegaConf.resolve(settings)
    if missing := sorted(OmegaConf.missing_keys(settings)):
        raise ValueError(f"required and not given: {', '.join(f'{key}=...' for key in missing)}")
    for unknown in sorted({*settings} - SETTINGS) + [f"tracking.{key}" for key in {*settings.tracking} - TRACKING]:
        raise ValueError(f"there is no setting {unknown}; there are {', '.join(sorted(SETTINGS))}")
    budget = Budget.parse(settings.budget)
    expand(plain(settings.candidates.pool))  # only to be refused early
    largest = settings.candidates.get("largest")
    if largest is not None and (not isinstance(largest, int) or largest < 1):
        raise ValueError(f"candidates.largest = {largest!r}: must be an integer of at least 1, or null for all")
    measures: Measures = _instantiate("measures", settings.measures)
    export: OnnxExport = _instantiate("export", settings.export)
    settings.criterion = measures.criterion(settings.criterion)
    if not isinstance(settings.seed, int) or settings.seed < 0:
        raise ValueError(f"seed = {settings.seed!r}: must be an integer of at least 0")
    if not 0 <= settings.allowed_failures <= 1:
        raise ValueError(f"allowed_failures = {settings.allowed_failures}: must be a share from 0 to 1")
    out = Path(str(settings.out))
    check_writable(out)
    check_registration(settings.tracking.register, settings.tracking.alias)
    with progress("reading the table", counted=False) as update:
        table = _instantiate("table", settings.table, progress=update)
    export.check_tokens(table.tokens)
    host = _host(settings, export, table)
    rows = exact_rows(plain(settings.exact_rows), table)
    allowed = budget.nbytes(table.n, table.d)
    room = Room(table.n, table.d, allowed - exact_nbytes(len(rows), table.d))
    left_out: list[str] = []
    pool = expand(plain(settings.candidates.pool), room, largest, left_out.append)
    if rows:
        pool = _in_own_dimension(pool, "exact_rows", "in which no row can be exact", left_out.append)
        pool = [ExactRows(rows, compressor) for compressor in pool]
    if host is not None:
        pool = _in_own_dimension(pool, "the host", "which the host does not expect", left_out.append)
    sized = [(compressor, compressor.nbytes(table.n, table.d)) for compressor in pool]
    return Job(
        settings=settings,
        table=table,
        digest=table_digest(table),
        rank=table_rank(table),
        budget=allowed,
        compressors=sized,
        left_out=left_out,
        measures=measures,
        export=export,
        host=host,
        out=out,
        tracker=connect(settings.tracking.experiment, settings.tracking.register),
    )


def _host(settings: DictConfig, export: OnnxExport, table: EmbeddingTable) -> Path | None:
    """The model that the payload is put into: the one that is named, or that the table was read out of."""
    read_from = Path(str(settings.table.path))
    if export.host is None and format_of_file(read_from, settings.table.format) != "onnx":
        return None
    host = read_from if export.host is None else Path(export.host)
    if table.source_n is not None:
        raise ValueError(
            f"table.keep leaves {table.n} of {table.source_n} rows, and the model {host} asks for all of them: drop "
            "table.keep, or write the table out with numpy.save and give the .npy file, without export.host"
        )
    export.check_host(host, table)
    return host


def _in_own_dimension(pool: list[Compressor], asker: str, why: str, tell: Callable[[str], None]) -> list[Compressor]:
    """The candidates of the table's own dimension, which `asker` needs; `why` the others are left out is told."""
    kept: list[Compressor] = []
    for compressor in pool:
        if compressor.keeps_dimension:
            kept.append(compressor)
        else:
            tell(f"{compressor.name}: it decodes to coordinates of its own, {why}")
    if not kept:
        raise ValueError(
            f"{asker} needs candidates of the table's own dimension, and the pool has none: "
            "give PCA keep_dimension=true, or add other methods"
        )
    return kept


def run(job: Job, console: Console, *, sweep: bool) -> Selection:
    """Measure the candidates that fit, choose one, export it, verify the file and hand it over.

    Args:
        job: what `prepare` gave.
        console: where the ranking and the choice are printed.
        sweep: this is one of several selections of a Hydra multirun.

    Raises:
        NothingFitsError: every candidate is over the budget.
        TooManyFailedError: more candidates failed than allowed.
        NothingMeasuredError: of those that fit, none could be measured.
        VerificationError: the exported file is not what was chosen.
    """
    settings = job.settings
    with job.tracker.parent(f"select {Path(str(settings.table.path)).name}", sweep=sweep) as parent:
        parent.log_settings(_parent_params(job), OmegaConf.to_yaml(settings))
        parent.log_table(Path(str(settings.table.path)).name, str(settings.table.path), job.digest, profile(job))
        if job.left_out:
            more = len(job.left_out) - LEFT_OUT_TOLD
            console.print(f"{len(job.left_out)} settings cannot be used here and are left out:")
            for reason in job.left_out[:LEFT_OUT_TOLD]:
                console.print(f"  {reason}")
            if more > 0:
                console.print(f"  ... and {more} more")
        candidates, payload, reused = _sweep(job, parent)
        if reused:
            console.print(
                f"{reused} candidates were measured by earlier runs and are reused (tracking.resume=false does not)."
            )
        failed = {c.name: c.reason for c in candidates if c.status == "failed"}
        check_failures(failed, sum(c.status != "over_budget" for c in candidates), settings.allowed_failures)
        selection = select(candidates, job.budget, settings.criterion)
        if payload is None or payload[0] != selection.chosen.name:
            payload = (selection.chosen.name, _compress(job, selection.chosen.name))
        _hand_over(job, parent, selection, candidates, payload[1], console)
    return selection


def check_failures(failed: Mapping[str, str | None], tried: int, allowed: float) -> None:
    """Tell why candidates failed, by name.

    Raises:
        TooManyFailedError: they are more than the share `allowed` of those that were tried.
    """
    for name, reason in failed.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    if len(failed) > allowed * tried:
        raise TooManyFailedError(
            f"{len(failed)} of {tried} candidates failed, allowed is a share of "
            f"{allowed}: see their reasons above, or raise allowed_failures"
        )


def _sweep(job: Job, parent: ParentRun) -> tuple[list[Candidate], tuple[str, Payload] | None, int]:
    """Every candidate with its measures, the best payload among those computed now, and how many were reused."""
    earlier = job.tracker.finished(job.digest) if job.settings.tracking.resume else {}
    candidates: list[Candidate] = []
    best: tuple[tuple[float, int, str], Payload] | None = None
    reused = 0
    with progress("measuring candidates") as update:
        for done, (compressor, nbytes) in enumerate(job.compressors):
            update(done, len(job.compressors))
            candidate, key = identify(job, compressor, nbytes, job.settings.seed)
            run_id, metrics, replicates = earlier.get(key, (None, {}, {}))
            known = {name: metrics[name] for name in job.measures.keys if name in metrics}
            fits = nbytes <= job.budget
            if fits and known:
                reused += 1
                candidate = dataclasses.replace(
                    candidate, status="measured", measures=known, replicates=replicates, run_id=run_id
                )
            elif run_id is not None and not fits:
                candidate = dataclasses.replace(candidate, run_id=run_id)
            else:
                started = time.time()
                if fits:
                    candidate, payload = measure(job, compressor, candidate, job.settings.seed)
                    if payload is not None and job.settings.criterion in candidate.measures:
                        rank = rank_key(candidate, job.settings.criterion)
                        best = (rank, payload) if best is None or rank < best[0] else best
                logged = parent.log_candidate(candidate, key, job.digest, seed=job.settings.seed, started=started)
                candidate = dataclasses.replace(candidate, run_id=logged)
            candidates.append(candidate)
    return candidates, None if best is None else (best[0][2], best[1]), reused


def identify(job: Job, compressor: Compressor, nbytes: int, seed: int) -> tuple[Candidate, str]:
    """A candidate before any work, and the key under which its results are found again."""
    settings = parameters(compressor)
    candidate = Candidate(compressor.name, type(compressor).__name__, settings, nbytes, "over_budget")
    measured = job.settings.measures
    key = candidate_key(candidate.compressor, settings, job.digest, seed, [measured.lambdas, measured.exponents])
    return candidate, key


def measure(job: Job, compressor: Compressor, candidate: Candidate, seed: int) -> tuple[Candidate, Payload | None]:
    """Compress and score; whatever goes wrong is that candidate's failure, not the sweep's."""
    try:
        payload = compressor.compress(job.table, np.random.default_rng(seed))
        found = moments(job.table, payload.read, aligned=payload.aligned)
        scores, replicates = job.measures(found), job.measures.replicates(found)
    except Exception as error:
        return dataclasses.replace(candidate, status="failed", reason=f"{type(error).__name__}: {error}"), None
    return dataclasses.replace(candidate, status="measured", measures=scores, replicates=replicates), payload


def _method(job: Job, name: str) -> Compressor:
    return next(compressor for compressor, _ in job.compressors if compressor.name == name)


def _compress(job: Job, name: str) -> Payload:
    """The payload of a candidate whose scores came from an earlier run."""
    return _method(job, name).compress(job.table, np.random.default_rng(job.settings.seed))


def _hand_over(
    job: Job,
    parent: ParentRun,
    selection: Selection,
    candidates: Sequence[Candidate],
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
        matrix = _method(job, chosen.name).decode_matrix(job.table, np.random.default_rng(job.settings.seed))
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
    console.print(f"UI:    {job.tracker.address(job.digest)}", soft_wrap=True)
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
            "path": str(job.settings.table.path),
            **profile(job),
            "digest": job.digest,
            "settings": {k: v for k, v in plain(job.settings.table).items() if k not in ("_target_", "path")},
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


def profile(job: Job) -> dict[str, Any]:
    """What a record says of the table beside its path and digest."""
    table = job.table
    found = {"n": table.n, "d": table.d, "rank": job.rank, "dtype": table.vectors.dtype.name}
    return found if table.source_n is None else {**found, "pruned_from": table.source_n}


def _parent_params(job: Job) -> dict[str, Any]:
    """Named apart from `overrides`, which `mlflow run` logs on the same run and which cannot be logged twice."""
    settings = job.settings
    return {
        "table": settings.table.path,
        "budget": settings.budget,
        "budget_bytes": job.budget,
        "criterion": settings.criterion,
        "seed": settings.seed,
        "exact_rows": list(settings.exact_rows),
        "candidates_count": len(job.compressors),
    }


def plain(settings: Any) -> Any:
    """Lists and dictionaries in the place of configuration."""
    return OmegaConf.to_container(settings, resolve=True) if OmegaConf.is_config(settings) else settings


def _instantiate(name: str, settings: DictConfig, **given: Any) -> Any:
    """Build a configured object; an error says which."""
    try:
        return instantiate(settings, _convert_="all", **given)
    except InstantiationException as error:
        raise ValueError(f"{name}: {error.__cause__ or error}") from error
