"""The model registry: what a chosen model is called in it, and its next version."""

from __future__ import annotations

import json

from mlflow import MlflowClient, get_registry_uri
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from eigenselect.selector.decision.escaping import in_markdown
from eigenselect.selector.decision.record import Decision
from eigenselect.selector.store.model import decision_tags
from eigenselect.selector.store.runs import LONGEST_TEXT, ParentRun


def check_registry(client: MlflowClient, name: str) -> None:
    """Raise a ValueError unless `name` is in the registry or could be."""
    try:
        client.get_registered_model(name)
    except (MlflowException, OSError) as error:
        if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
            return
        raise ValueError(
            f"tracking.register = {name!r}: the model registry {get_registry_uri()} cannot be used: "
            f"{reason_of(error)}; set MLFLOW_REGISTRY_URI to one that can, or tracking.register=null"
        ) from error


def reason_of(error: Exception) -> str:
    """What is wrong, from an error of MLflow, in a few words."""
    text = str(error).splitlines()[0]
    return "it does not answer" if "failed with exception" in text else text


def register(parent: ParentRun, model_id: str, name: str, alias: str, decision: Decision) -> str:
    """A logged model as the next version of the registered model `name`, to which `alias` then points; its number.

    Its tags are the decision.
    """
    client = parent.experiment.client
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.create_model_version(
        name,
        f"models:/{model_id}",
        run_id=parent.run_id,
        tags=decision_tags(decision),
        description=in_markdown(decision.reason)[:LONGEST_TEXT],
        model_id=model_id,
    )
    client.set_registered_model_alias(name, alias, created.version)
    # What links the model to its version in the UI; a server has done it already, a database has not.
    link = json.dumps([{"name": name, "version": created.version}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: link})
    return str(created.version)
