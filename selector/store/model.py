"""The logged model: the chosen ONNX model with a python function that checks the ids before it looks them up."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.onnx
import mlflow.pyfunc
import numpy as np
from mlflow.entities import LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from eigenselect.selector.decision.record import Decision
from eigenselect.selector.store.closing import LONGEST_TEXT
from eigenselect.selector.store.lost import reaches_store
from eigenselect.selector.store.runs import ParentRun

MODEL = "embedding"
"""Name of the logged model."""

MODEL_DIGEST = "model_sha256"
"""Tag of the logged model: of the file of the ONNX model in it."""

SERVING = Path(__file__).with_name("serving.py")
"""Source of the python function that is shipped inside the logged model, under the module name below."""

SERVING_MODULE = "eigenselect_serving"

SERVED_WITH = ("mlflow", "numpy", "onnx", "onnxruntime")
"""What the logged model needs where it is served; it is pinned as installed here."""


@reaches_store
def log_model(parent: ParentRun, onnx_model: Any, path: Path, digest: str, decision: Decision) -> str:
    """The chosen model as a logged model of the run of its selection; its id.

    It has two flavors: `onnx`, and the python function of `serving.py`.

    Args:
        parent: that run.
        onnx_model: `ids (batch,) int64 -> vectors (batch, k)`, an `onnx.ModelProto`, without what is in a data file.
        path: its file; the data file lies beside it, if there is one.
        digest: SHA-256 of its file.
        decision: its tags.
    """
    client, tags = parent.experiment.client, {**decision_tags(decision), MODEL_DIGEST: digest}
    logged = client.create_logged_model(parent.experiment.experiment_id, MODEL, source_run_id=parent.run_id, tags=tags)
    model = Model(
        artifact_path=logged.artifact_location,
        run_id=parent.run_id,
        model_id=logged.model_id,
        model_uuid=logged.model_id,
    )
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above) / MODEL
        _save(model, onnx_model, decision.table.n, decision.verification.output, folder)
        for data in path.parent.glob(f"{path.name}.data"):
            _link(data, folder / data.name)
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(parent.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def _link(file: Path, new: Path) -> None:
    """Let a large file be there under another name too; where that cannot be, it is copied."""
    try:
        new.hardlink_to(file)
    except OSError:  # on another disk, or the disk has no such links
        shutil.copyfile(file, new)


def decision_tags(decision: Decision) -> dict[str, str]:
    """The tags of a decision, as far as a store takes them."""
    return {key: value[:LONGEST_TEXT] for key, value in decision.tags().items()}


def _save(model: Model, onnx_model: Any, n: int, output: str, folder: Path) -> None:
    """Write the model of `n` rows of the type `output` with both flavors.

    The signature says `object` of the ids: the scoring server casts to what it says, whatever is lost by that.
    """
    k = onnx_model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    mlflow.onnx.save_model(
        onnx_model,
        folder,
        mlflow_model=model,
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(object), (-1,), "ids")]),
            outputs=Schema([TensorSpec(np.dtype(output), (-1, k))]),
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
