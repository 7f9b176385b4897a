"""Everything that is said to MLflow. The only importer of it, but for `serving.py`, which travels in the logged model.

One parent run for a selection, one nested child for each candidate, one `log_batch` for each run. Runs are always
named by id: nothing here rests on MLflow's notion of an active run, so that candidates may come from any worker.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import mlflow.onnx
import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient, get_registry_uri, get_tracking_uri
from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS, MLFLOW_PARENT_RUN_ID

from eigenselect.compressors import Payload, load
from eigenselect.selector.decision.selection import Candidate

OUTER_RUN = "MLFLOW_RUN_ID"
"""Environment variable with the run that this program works for: `mlflow run` sets it, and so may any outer script."""

# Schema migrations and retries are not news to someone who asked for a table.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

PAGE = 1_000

MANY = 50_000
"""Runs that a store gives at most at once."""

PAYLOAD = "payload.safetensors"
"""Artifact of the run of a candidate that would not be made again the same."""

DOWNSTREAM = "downstream_"
"""A task's score is the metric of this and its name, and its digest the tag of the same key."""

MODEL = "embedding"
"""Name of the logged model."""

SERVING = Path(__file__).with_name("serving.py")
"""Source of the python function that is shipped inside the logged model, under the module name below."""

SERVING_MODULE = "eigenselect_serving"

SERVED_WITH = ("mlflow", "numpy", "onnx", "onnxruntime")
"""What the logged model needs where it is served; it is pinned as installed here."""

REPLICATES = "replicates."
"""Start of the tags that hold a candidate's replicates."""

LONGEST_TEXT = 5_000
"""Characters that the columns of a store take."""


def connect(experiment: str, register: str | None = None) -> Tracker:
    """Reach the tracking store and the experiment: that of the outer run, else the environment's, else `experiment`.

    Args:
        experiment: name of the experiment.
        register: name of a registered model, for which there must be a registry.

    Raises:
        ValueError: the store cannot be reached, or has no registry.
    """
    uri = get_tracking_uri()
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in quick}
    # A server that is down is found out now, before hours of work, not after MLflow's minutes of retries.
    os.environ.update({name: value for name, value in quick.items() if before[name] is None})
    try:
        client = MlflowClient()
        if register is not None:
            _check_registry(client, register)
        if outer := os.environ.get(OUTER_RUN):
            return Tracker(client, client.get_run(outer).info.experiment_id, outer)
        if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return Tracker(client, client.get_experiment(named).experiment_id, None)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
        found = client.get_experiment_by_name(name)
        return Tracker(client, found.experiment_id if found else client.create_experiment(name), None)
    except (MlflowException, OSError) as error:
        raise ValueError(
            f"the tracking store {uri} cannot be used: {_reason(error)}; "
            "start it, or set MLFLOW_TRACKING_URI to one that runs"
        ) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _check_registry(client: MlflowClient, name: str) -> None:
    """Raise a ValueError unless `name` is in the registry or could be."""
    try:
        client.get_registered_model(name)
    except (MlflowException, OSError) as error:
        if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
            return
        raise ValueError(
            f"tracking.register = {name!r}: the model registry {get_registry_uri()} cannot be used: {_reason(error)}; "
            "set MLFLOW_REGISTRY_URI to one that can, or tracking.register=null"
        ) from error


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0]
    return "it does not answer" if "failed with exception" in text else text


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


@dataclass(frozen=True)
class Tracker:
    """An experiment of a tracking store.

    Attributes:
        client: MLflow's client.
        experiment_id: where the runs go.
        outer_run: the run that this program works for, if any.
    """

    client: MlflowClient
    experiment_id: str
    outer_run: str | None

    @contextmanager
    def parent(self, name: str, *, sweep: bool, role: str = "selection") -> Iterator[ParentRun]:
        """The run of one selection: FINISHED when the block ends well, FAILED with the reason when it does not.

        It is the outer run itself, or a child of it when this selection is one of a sweep's.

        Args:
            name: of the run.
            sweep: this is one of several jobs of a Hydra multirun.
            role: the run's tag `role`: `selection`, or `evidence` for a run of `validate`.
        """
        if self.outer_run and not sweep:
            run_id = self.outer_run
        else:
            tags = {MLFLOW_PARENT_RUN_ID: self.outer_run} if self.outer_run else {}
            run_id = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self.client.set_tag(run_id, "role", role)
        try:
            yield ParentRun(self, run_id)
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            self.client.set_tag(run_id, "reason", f"{type(error).__name__}: {error}"[:5000])
            self.client.set_terminated(run_id, RunStatus.to_string(RunStatus.KILLED if killed else RunStatus.FAILED))
            raise
        self.client.set_terminated(run_id)

    def finished(self, table_digest: str) -> dict[str, tuple[str, dict[str, float], dict[str, tuple[float, ...]]]]:
        """Candidates of a table that some run has measured, the latest: key -> (run id, metrics, replicates)."""
        found: dict[str, tuple[str, dict[str, float], dict[str, tuple[float, ...]]]] = {}
        wanted = (
            "attributes.status = 'FINISHED' and tags.role = 'candidate' and tags.status = 'measured' "
            f"and tags.table_digest = '{table_digest}'"
        )
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=PAGE, page_token=token)
            for run in page:
                one = (run.info.run_id, dict(run.data.metrics), _replicates(run.data.tags))
                found.setdefault(run.data.tags["candidate_key"], one)
            token = page.token
            if not token:
                return found

    def downstream(self, run_id: str) -> dict[str, tuple[str, float]]:
        """What was reached with a candidate: task -> (digest of the task, score)."""
        data = self.client.get_run(run_id).data
        return {
            task: (data.tags[key], data.metrics[key])
            for key in data.metrics
            if (task := key.removeprefix(DOWNSTREAM)) != key and key in data.tags
        }

    def payload(self, run_id: str) -> Payload | None:
        """The payload that a candidate's run keeps; None where there is none, or none that can be read."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                return load(self.client.download_artifacts(run_id, PAYLOAD, folder))
            except (MlflowException, OSError, ValueError):
                return None

    def address(self, wanted: str) -> str:
        """Where the UI shows the candidates with the tags that are `wanted` as a chart, ordered by EOS."""
        uri = get_tracking_uri()
        base = uri if uri.startswith("http") else "http://127.0.0.1:5000"
        query = {  # complete, or the UI ignores it
            "compareRunsMode": "CHART",
            "searchFilter": f"tags.role = 'candidate' and {wanted}",
            "orderByKey": "metrics.`eos`",
            "orderByAsc": "false",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": "W10=",
        }
        return f"{base.rstrip('/')}/#/experiments/{self.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


@dataclass(frozen=True)
class ParentRun:
    """The run of one selection."""

    tracker: Tracker
    run_id: str

    @property
    def address(self) -> str:
        """Where the UI shows the candidates of this selection."""
        return self.tracker.address(f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}'")

    def logged(self) -> frozenset[str]:
        """Keys of the candidates that are logged under this run already: an outer run may be gone on with."""
        wanted = f"tags.role = 'candidate' and tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}'"
        found = self.tracker.client.search_runs([self.tracker.experiment_id], wanted, max_results=MANY)
        return frozenset(run.data.tags["candidate_key"] for run in found)

    def log_settings(self, params: Mapping[str, Any], config: str) -> None:
        """The settings as params, and the resolved configuration as `config.yaml`."""
        self._batch(self.run_id, params=params)
        self.tracker.client.log_text(self.run_id, config, "config.yaml")

    def log_table(self, name: str, source: str, digest: str, profile: Mapping[str, Any]) -> None:
        """The table as this run's input dataset."""
        dataset = Dataset(
            name=name,
            digest=digest[:32],  # the store's column is short; the whole digest is in the record
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        self.tracker.client.log_inputs(self.run_id, [DatasetInput(dataset)])

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
        client = self.tracker.client
        run = client.create_run(
            self.tracker.experiment_id,
            run_name=candidate.name,
            start_time=_milliseconds(started),
            tags={MLFLOW_PARENT_RUN_ID: self.run_id},
        )
        tags = {
            "role": "candidate",
            "status": candidate.status if candidate.run_id is None else "reused",
            "within_budget": str(candidate.status != "over_budget").lower(),
            "candidate_key": key,
            "table_digest": table_digest,
            "seed": str(seed),
            **({"reason": candidate.reason[:5000]} if candidate.reason else {}),
        }
        if candidate.run_id is None:
            tags |= {REPLICATES + key: json.dumps(found) for key, found in candidate.replicates.items()}
        else:
            tags["measured_by"] = candidate.run_id
        sizes = {"bytes": candidate.nbytes, "megabytes": candidate.nbytes / 1e6}
        self._batch(
            run.info.run_id,
            params={"compressor": candidate.compressor, **candidate.parameters},
            metrics={**sizes, **candidate.measures, **candidate.standard_errors},
            tags=tags,
        )
        if payload is not None:
            with tempfile.TemporaryDirectory() as folder:
                payload.save(Path(folder) / PAYLOAD)
                client.log_artifact(run.info.run_id, str(Path(folder) / PAYLOAD))
        client.set_terminated(run.info.run_id, "FAILED" if candidate.status == "failed" else "FINISHED")
        return str(run.info.run_id)

    def log_downstream(self, run_id: str, scores: Mapping[str, tuple[str, float]]) -> None:
        """What was reached with a candidate, on its own run: task -> (digest of the task, score)."""
        self._batch(
            run_id,
            metrics={f"{DOWNSTREAM}{task}": score for task, (_, score) in scores.items()},
            tags={f"{DOWNSTREAM}{task}": digest for task, (digest, _) in scores.items()},
        )

    def log_files(self, files: Path) -> None:
        """Every file of the folder `files` as an artifact of this run."""
        self.tracker.client.log_artifacts(self.run_id, str(files))

    def log_choice(self, metrics: Mapping[str, float], tags: Mapping[str, str], description: str, files: Path) -> None:
        """The choice on the parent, and every file of `files` as its artifact."""
        self._batch(self.run_id, metrics=metrics, tags={**tags, "mlflow.note.content": description})
        self.log_files(files)

    def log_model(self, onnx_model: Any, record: Mapping[str, Any]) -> str:
        """The chosen model as a logged model of this run; its id.

        It has two flavors: `onnx`, and the python function of `serving.py`, which checks the ids before it looks them
        up. The signature says `object` of them: the scoring server casts to what it says, whatever is lost by that.

        Args:
            onnx_model: `ids (batch,) int64 -> vectors (batch, k) float32`, an `onnx.ModelProto`.
            record: the decision, as in `selection.json`.
        """
        client, n = self.tracker.client, record["table"]["n"]
        k = onnx_model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        logged = client.create_logged_model(
            self.tracker.experiment_id, MODEL, source_run_id=self.run_id, tags=_decision_tags(record)
        )
        model = Model(
            artifact_path=logged.artifact_location,
            run_id=self.run_id,
            model_id=logged.model_id,
            model_uuid=logged.model_id,
        )
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / MODEL
            mlflow.onnx.save_model(
                onnx_model,
                folder,
                mlflow_model=model,
                signature=ModelSignature(
                    inputs=Schema([TensorSpec(np.dtype(object), (-1,), "ids")]),
                    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, k))]),
                ),
                input_example={"ids": np.arange(min(n, 3))},
                metadata={"ids": f"integers from 0 to {n - 1}"},
                pip_requirements=[f"{name}=={version(name)}" for name in SERVED_WITH],
                save_as_external_data=False,
            )
            (folder / "code").mkdir()
            shutil.copy(SERVING, folder / "code" / f"{SERVING_MODULE}.py")
            mlflow.pyfunc.add_to_model(  # in the place of the one that `save_model` wrote
                model,
                SERVING_MODULE,
                data="model.onnx",
                code="code",
                conda_env="conda.yaml",
                python_env="python_env.yaml",
                model_config={"n": n},
            )
            model.save(folder / "MLmodel")
            client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return str(logged.model_id)

    def register(self, model_id: str, name: str, alias: str, record: Mapping[str, Any], description: str) -> str:
        """A logged model as the next version of the registered model `name`, to which `alias` then points; its number.

        Its tags are the decision.
        """
        client = self.tracker.client
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        created = client.create_model_version(
            name,
            f"models:/{model_id}",
            run_id=self.run_id,
            tags=_decision_tags(record),
            description=description[:LONGEST_TEXT],
            model_id=model_id,
        )
        client.set_registered_model_alias(name, alias, created.version)
        # What links the model to its version in the UI; a server has done it already, a database has not.
        link = json.dumps([{"name": name, "version": created.version}])
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: link})
        return str(created.version)

    def _batch(
        self,
        run_id: str,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = _milliseconds(time.time())
        self.tracker.client.log_batch(
            run_id,
            metrics=[Metric(key, float(value), now, 0) for key, value in (metrics or {}).items()],
            params=[Param(key, str(value)) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )


def _replicates(tags: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Metric key -> replicates, as `log_candidate` wrote them."""
    return {
        tag.removeprefix(REPLICATES): tuple(json.loads(value))
        for tag, value in tags.items()
        if tag.startswith(REPLICATES)
    }


def _decision_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """What a registry shows of a decision, from the content of `selection.json`."""
    chosen, runner_up, criterion = record["chosen"], record["runner_up"], record["criterion"]
    scores = {key: chosen["measures"][key] for key in ("eos", criterion)}
    tags = {
        "chosen": chosen["name"],
        "compressor": chosen["compressor"],
        "bytes": chosen["nbytes"],
        **scores,
        "criterion": criterion,
        "budget_bytes": record["budget_bytes"],
        "table_digest": record["table"]["digest"],
        "run_id": record["run_id"],
    }
    if runner_up is not None:
        tags["runner_up"] = runner_up["name"]
        tags["runner_up_distance"] = abs(scores[criterion] - runner_up["measures"][criterion])
    if matrix := chosen.get("left_to_consumer"):
        tags["left_to_consumer"] = f"{matrix['file']}: {matrix['use']}"
    return {key: str(value)[:LONGEST_TEXT] for key, value in tags.items()}
