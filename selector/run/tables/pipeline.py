"""The job for many tables: from one budget to a verified hand-over of all."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from eigenselect.selector.decision import torchrec
from eigenselect.selector.decision.record import Decision, installed_versions
from eigenselect.selector.decision.selection import NothingFitsError, NothingMeasuredError, select
from eigenselect.selector.decision.split import Curve, Split, split
from eigenselect.selector.decision.tables import FILE, TablesDecision, TableShare, even_score, why_split
from eigenselect.selector.pool.sums import remembered
from eigenselect.selector.progress import progress
from eigenselect.selector.run.announcement import announce_tables, introduce_tables
from eigenselect.selector.run.handover import deliver
from eigenselect.selector.run.job import profile
from eigenselect.selector.run.selecting import Chosen, chosen_of, measured
from eigenselect.selector.run.sweep import Runs, TooManyFailedError
from eigenselect.selector.run.tables.job import Part, TablesJob
from eigenselect.selector.run.trial import Trial
from eigenselect.selector.store.closing import close_dead
from eigenselect.selector.store.journal import Journal
from eigenselect.selector.store.output import journal_of, staged
from eigenselect.selector.store.runs import ParentRun


@dataclasses.dataclass(frozen=True)
class Measured:
    """A table whose candidates are measured.

    Attributes:
        part: the table.
        runs: where its candidates are logged.
        trials: they.
    """

    part: Part
    runs: Runs
    trials: list[Trial]

    @property
    def curve(self) -> Curve:
        """What the table reaches against bytes."""
        work = self.part.work
        candidates = [trial.candidate for trial in self.trials]
        return Curve.of(self.part.name, self.part.weight, candidates, work.criterion, work.limit)


def run(job: TablesJob, console: Console, *, sweep: bool) -> TablesDecision:
    """Measure the candidates of each table, split the budget between them, and hand all choices over.

    Args:
        job: what `prepare` gave.
        console: where the split is printed.
        sweep: this is one of several selections of a Hydra multirun.

    Raises:
        NothingFitsError: the smallest candidates together are over the budget, or all of a table are too slow.
        TooManyFailedError: more candidates of a table failed than allowed.
        NothingMeasuredError: of those of a table, none could be measured.
        VerificationError: an exported file is not what was chosen.
        TakenError: another process writes the output folder.
        StoreLostError: the tracking store failed; what was measured is kept.
    """
    settings = job.settings
    if closed := close_dead(job.tracker):
        console.print(closed)
    params = _params(job)
    with job.tracker.parent(job.title, sweep=sweep, params=params, out=settings.out) as parent:
        with ExitStack() as stack, staged(settings.out, job.files) as folder:
            parent.log_settings(params, settings.text)
            introduce_tables(job, console)
            job.check_fitting()
            tables = _measured(job, parent, stack)
            if reused := sum(each.runs.reused(each.trials) for each in tables):
                console.print(
                    f"{reused} candidates were measured by earlier runs and are reused "
                    "(tracking.resume=false does not)."
                )
            found = split([each.curve for each in tables], job.budget)
            chosen = [_chosen(each, point.nbytes) for each, point in zip(tables, found.points, strict=True)]
            decisions = []
            with progress("exporting") as update:
                for done, (each, choice) in enumerate(zip(tables, chosen, strict=True)):
                    update(done, len(tables))
                    decisions.append(_deliver(each, choice, folder))
            decision = _decision(job, parent, tables, found, decisions)
            decision = dataclasses.replace(decision, host=_host(job, chosen, folder))
            (folder / FILE).write_text(decision.text(), encoding="utf-8")
            _write_torchrec(folder / torchrec.FILE, tables, decisions)
            parent.log_tables(decision, folder)
        announce_tables(decision, job, parent, console)
    return decision


def _params(job: TablesJob) -> dict[str, Any]:
    settings = job.settings
    return {
        "tables": len(job.parts),
        "budget": settings.budget.text,
        "budget_bytes": job.budget,
        "lookup_limit": None if settings.limits.lookup is None else settings.limits.lookup.text,
        "criterion": settings.decides,
        "seed": settings.seed,
        "candidates_count": sum(len(part.work.compressors) for part in job.parts),
    }


def _measured(job: TablesJob, parent: ParentRun, stack: ExitStack) -> list[Measured]:
    """Each table with its candidates, under a run of its own, which `stack` closes."""
    inner = dataclasses.replace(job.tracker, outer_run=parent.run_id, project_run=None)
    journal, found = Journal(journal_of(job.settings.out)), []
    with progress("tables") as update:
        for done, part in enumerate(job.parts):
            update(done, len(job.parts))
            work = part.work
            run = stack.enter_context(inner.parent(part.name, sweep=True, role="table"))
            run.log_settings({"table": part.name, "weight": part.weight, "seed": work.seed}, job.settings.text)
            stack.enter_context(remembered(work.table, work.digest, work.device))
            run = run.log_table(part.name, work.settings.table.path, work.digest, profile(work))
            runs = Runs.of(work, run, resume=job.settings.tracking.resume, journal=journal)
            try:
                trials = measured(work, runs)
                select([trial.candidate for trial in trials], work.budget, work.criterion, work.limit)
            except (NothingFitsError, NothingMeasuredError, TooManyFailedError) as error:
                raise type(error)(f"{part.name}: {error}") from error
            found.append(Measured(part, runs, [dataclasses.replace(trial, payload=None) for trial in trials]))
    return found


def _chosen(each: Measured, nbytes: int) -> Chosen:
    """The choice of a table within its share: the candidate of so many bytes on its curve."""
    return chosen_of(dataclasses.replace(each.part.work, budget=nbytes), each.trials, each.runs)


def _deliver(each: Measured, choice: Chosen, folder: Path) -> Decision:
    """Write the hand-over of a table, and log its choice."""
    own, run = folder / each.part.folder, each.runs.parent
    own.mkdir()
    decision = deliver(each.part.work, run.run_id, choice, own)
    run.log_choice(decision, own)
    return decision


def _host(job: TablesJob, chosen: list[Chosen], folder: Path) -> Any:
    if job.host is None:
        return None
    errors = [each.selection.chosen.measures.get("reconstruction_error_relative") for each in chosen]
    payloads = [(each.payload, error) for each, error in zip(chosen, errors, strict=True)]
    return job.export.rewrite_tables(job.host, payloads, folder / "host.onnx")


def _decision(
    job: TablesJob, parent: ParentRun, tables: list[Measured], found: Split, decisions: list[Decision]
) -> TablesDecision:
    curves = [each.curve for each in tables]
    shares = [
        TableShare(
            name=each.part.name,
            folder=each.part.folder,
            path=each.part.work.settings.table.path,
            tensor=each.part.work.settings.table.tensor,
            n=each.part.work.table.n,
            d=each.part.work.table.d,
            digest=each.part.work.digest,
            weight=each.part.weight,
            chosen=point.name,
            nbytes=point.nbytes,
            score=point.score,
            run_id=decision.run_id,
            curve=[*curve.points],
        )
        for each, curve, point, decision in zip(tables, curves, found.points, decisions, strict=True)
    ]
    even = even_score([(share.weight, share.curve, share.float32_bytes) for share in shares], job.budget)
    weight = sum(share.weight for share in shares)
    return TablesDecision(
        reason=why_split(found, len(shares), job.budget, job.settings.decides, weight, even),
        budget_bytes=job.budget,
        nbytes=found.nbytes,
        float32_bytes=sum(share.float32_bytes for share in shares),
        criterion=job.settings.decides,
        score=found.score,
        bound=found.bound,
        even_score=even,
        tables=shares,
        left_out=job.left_out,
        seed=job.settings.seed,
        versions=installed_versions(),
        run_id=parent.run_id,
    )


def _write_torchrec(path: Path, tables: list[Measured], decisions: list[Decision]) -> None:
    found = torchrec.mapping(
        {each.part.name: (decision.table, decision.chosen) for each, decision in zip(tables, decisions, strict=True)}
    )
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
