"""What is logged on the runs of a selection: one parent, a nested child for each candidate, one `log_batch` for each.

Runs are always named by id: nothing here rests on MLflow's notion of an active run, so that candidates may come from
any worker.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from eigenselect.compressors import Payload
from eigenselect.selector.decision.escaping import in_markdown
from eigenselect.selector.decision.plain import written
from eigenselect.selector.decision.record import Decision
from eigenselect.selector.decision.selection import Candidate
from eigenselect.selector.decision.tables import TablesDecision
from eigenselect.selector.pool.budget import size
from eigenselect.selector.store.closing import LONGEST_TEXT
from eigenselect.selector.store.experiment import DOWNSTREAM, PAYLOAD, REPLICATES, TIMED_ON, Experiment
from eigenselect.selector.store.lost import FAILURES, reaches_store
from eigenselect.selector.store.origin import aligned, origin
from eigenselect.selector.store.view import SAVED, View, saved

MANY = 50_000
"""Runs that a store gives at most at once."""

PICTURE = "get-artifact?path=pareto.png&run_uuid={}"
"""Where MLflow's pages have the picture of a selection, from the id of its run."""


@dataclass(frozen=True)
class ParentRun:
    """The run of one selection.

    Attributes:
        experiment: where it is.
        run_id: its id.
        tables: its input, that of the candidates too, once it is logged.
    """

    experiment: Experiment
    run_id: str
    tables: tuple[DatasetInput, ...] = ()

    @reaches_store
    def view(self, name: str, wanted: str | None = None, role: str = "candidate") -> View:
        """Where MLflow's pages show the candidates of this selection, or those with the tags that are `wanted`.

        Args:
            name: of the view, in the experiment's list of views.
            wanted: a condition of MLflow's search.
            role: of the runs, in place of the candidates'.
        """
        own = wanted or f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}'"
        value = saved(name, f"tags.role = '{role}' and {own}")
        with suppress(*FAILURES):  # the pages then show all runs
            self.experiment.client.set_experiment_tag(self.experiment.experiment_id, f"{SAVED}{self.run_id}", value)
        return View.of(self.experiment.experiment_id, self.run_id)

    @reaches_store
    def logged(self) -> frozenset[str]:
        """Keys of the candidates that are logged under this run already: an outer run may be gone on with."""
        return frozenset(run.data.tags["candidate_key"] for run in self._candidates())

    @reaches_store
    def log_settings(self, params: Mapping[str, Any], config: str) -> None:
        """The settings as params, and the resolved configuration as `config.yaml`."""
        self._batch(self.run_id, params=params)
        self.experiment.client.log_text(self.run_id, config, "config.yaml")

    @reaches_store
    def log_table(self, name: str, source: str, digest: str, profile: Mapping[str, Any]) -> ParentRun:
        """The table as this run's input dataset, and as that of its candidates: the run to log them under."""
        dataset = Dataset(
            name=name,
            digest=digest[:32],  # the store's column is short; the whole digest is in the record
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        tables = (DatasetInput(dataset),)
        self.experiment.client.log_inputs(self.run_id, [*tables])
        self._batch(self.run_id, tags={"table": name})
        return replace(self, tables=tables)

    @reaches_store
    def log_candidate(
        self,
        candidate: Candidate,
        key: str,
        table_digest: str,
        *,
        seed: int,
        started: float,
        payload: Payload | None = None,
    ) -> str:
        """One child run, begun at `started` (seconds); its id. A failed candidate is a FAILED run and has no score.

        A candidate that has a run already was measured by it: the child shows its measures, and refers to that run.
        A `payload` that is given is kept with the run.
        """
        client = self.experiment.client
        run = client.create_run(
            self.experiment.experiment_id,
            run_name=candidate.name,
            start_time=_milliseconds(started),
            tags={**origin(), MLFLOW_PARENT_RUN_ID: self.run_id},
        )
        tags = {
            "role": "candidate",
            "status": candidate.status if candidate.run_id is None else "reused",
            "candidate_key": key,
            "table_digest": table_digest,
            "seed": str(seed),
            **({"reason": candidate.reason[:LONGEST_TEXT]} if candidate.reason else {}),
        }
        if candidate.run_id is None:
            tags |= {REPLICATES + key: json.dumps(found) for key, found in candidate.replicates.items()}
        else:
            tags["measured_by"] = candidate.run_id
        tags |= _timed_on(candidate)
        sizes = {"bytes": candidate.nbytes, "megabytes": candidate.nbytes / 1e6}
        self._batch(
            run.info.run_id,
            params={"compressor": candidate.compressor, "method": candidate.method, **aligned(candidate.parameters)},
            metrics={**sizes, **candidate.measures, **candidate.standard_errors, **candidate.costs},
            tags=tags,
        )
        if self.tables:
            client.log_inputs(run.info.run_id, [*self.tables])
        if payload is not None:
            with tempfile.TemporaryDirectory() as folder:
                payload.save(Path(folder) / PAYLOAD)
                client.log_artifact(run.info.run_id, str(Path(folder) / PAYLOAD))
        client.set_terminated(run.info.run_id, "FAILED" if candidate.status == "failed" else "FINISHED")
        return str(run.info.run_id)

    @reaches_store
    def log_costs(self, candidate: Candidate) -> None:
        """What lookups cost, on the run that measured the candidate without it."""
        self._batch(str(candidate.run_id), metrics=candidate.costs, tags=_timed_on(candidate))

    @reaches_store
    def log_downstream(self, run_id: str, scores: Mapping[str, tuple[str, float]]) -> None:
        """What was reached with a candidate, on its own run: task -> (digest of the task, score)."""
        self._batch(
            run_id,
            metrics={f"{DOWNSTREAM}{task}": score for task, (_, score) in scores.items()},
            tags={f"{DOWNSTREAM}{task}": digest for task, (digest, _) in scores.items()},
        )

    @reaches_store
    def log_files(self, files: Path) -> None:
        """Every file of the folder `files` as an artifact of this run."""
        self.experiment.client.log_artifacts(self.run_id, str(files))

    @reaches_store
    def log_choice(self, decision: Decision, files: Path) -> None:
        """The choice on the parent, and every file of `files` as its artifact."""
        tags = {
            "chosen": decision.chosen.name,
            "budget": size(decision.budget_bytes),
            "table_digest": decision.table.digest,
            **decision.purpose(),
            MLFLOW_RUN_NOTE: decision.description(PICTURE.format(self.run_id)),
        }
        self._batch(self.run_id, metrics=decision.metrics(), tags=tags)
        self.log_files(files)
        self._mark(decision)

    @reaches_store
    def log_tables(self, decision: TablesDecision, files: Path) -> None:
        """The split on the run of all tables, and those of `files` as its artifacts that are of no one table."""
        tags = {
            "chosen": ", ".join(f"{each.name}: {each.chosen}" for each in decision.tables)[:LONGEST_TEXT],
            "budget": size(decision.budget_bytes),
            MLFLOW_RUN_NOTE: decision.description()[:LONGEST_TEXT],
        }
        self._batch(self.run_id, metrics=decision.metrics(), tags=tags)
        for path in sorted(files.iterdir()):
            if path.is_file():
                self.experiment.client.log_artifact(self.run_id, str(path))

    def _mark(self, decision: Decision) -> None:
        """Say on the chosen candidate's run under this one that it is chosen."""
        note = f"Chosen within {size(decision.budget_bytes)}. {in_markdown(decision.reason)}"[:LONGEST_TEXT]
        for run in self._candidates():
            if run.info.run_name == decision.chosen.name:
                self._batch(run.info.run_id, tags={"chosen": "true", MLFLOW_RUN_NOTE: note})

    def _candidates(self) -> Sequence[Run]:
        """The runs of the candidates under this one."""
        wanted = f"tags.role = 'candidate' and tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}'"
        found: Sequence[Run] = self.experiment.client.search_runs(
            [self.experiment.experiment_id], wanted, max_results=MANY
        )
        return found

    def _batch(
        self,
        run_id: str,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = _milliseconds(time.time())
        self.experiment.client.log_batch(
            run_id,
            metrics=[Metric(key, float(value), now, 0) for key, value in (metrics or {}).items()],
            params=[Param(key, str(value)) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )


def _timed_on(candidate: Candidate) -> dict[str, str]:
    """The tag that says what lookups were timed on, where they were."""
    return {} if candidate.timed_on is None else {TIMED_ON: json.dumps(written(candidate.timed_on))}


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
