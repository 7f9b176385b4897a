"""The model registry: what a chosen model is called in it, and its next version."""

from __future__ import annotations

import json
from contextlib import suppress

from mlflow import MlflowClient, get_registry_uri
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from eigenselect.selector.decision.escaping import in_markdown
from eigenselect.selector.decision.record import Decision
from eigenselect.selector.store.closing import LONGEST_TEXT
from eigenselect.selector.store.lost import FAILURES, named, reaches_store, reason_of
from eigenselect.selector.store.model import MODEL_DIGEST, decision_tags
from eigenselect.selector.store.runs import ParentRun


def check_registry(client: MlflowClient, name: str) -> None:
    """Raise a ValueError unless `name` is in the registry or could be."""
    try:
        client.get_registered_model(name)
    except FAILURES as error:
        if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
            return
        raise ValueError(
            f"tracking.register = {name!r}: the model registry {named(get_registry_uri())} cannot be used: "
            f"{reason_of(error)}; set MLFLOW_REGISTRY_URI to one that can, or tracking.register=null"
        ) from error


@reaches_store
def register(parent: ParentRun, model_id: str, name: str, alias: str, decision: Decision) -> tuple[str, str]:
    """A logged model as a version of the registered model `name`: its number, and that which `alias` then points to.

    It is the next version, whose tags are the decision, unless a version is of this decision and model already. An
    alias that points to a later version by then, that of a selection beside this one, stays there.
    """
    client = parent.experiment.client
    if (number := _registered(client, model_id, name, decision)) is None:
        number = _create(parent, model_id, name, decision)
        pointed = str(client.get_registered_model(name).aliases.get(alias, number))
        if int(pointed) > int(number):
            return number, pointed
    client.set_registered_model_alias(name, alias, number)
    return number, number


def _registered(client: MlflowClient, model_id: str, name: str, decision: Decision) -> str | None:
    """The version of `name` of the same decision, by whatever run, and of a model with the same digest."""
    tags = {key: value for key, value in decision_tags(decision).items() if key != "run_id"}
    digest = client.get_logged_model(model_id).tags[MODEL_DIGEST]
    quote = '"' if "'" in name else "'"
    for version in client.search_model_versions(f"name = {quote}{name}{quote}"):
        if tags.items() <= version.tags.items() and version.source.startswith("models:/"):
            with suppress(MlflowException):  # its model may have been deleted
                logged = client.get_logged_model(version.source.removeprefix("models:/"))
                if logged.status == "READY" and logged.tags.get(MODEL_DIGEST) == digest:
                    return str(version.version)
    return None


def _create(parent: ParentRun, model_id: str, name: str, decision: Decision) -> str:
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
    # What links the model to its version in the UI; a server has done it already, a database has not.
    link = json.dumps([{"name": name, "version": created.version}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: link})
    return str(created.version)
