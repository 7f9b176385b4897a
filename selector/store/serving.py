"""The python function of a logged model. This file travels inside the model and runs where nothing else of ours does.

MLflow's own loader of ONNX models looks up what its scoring server made of a request: 1.5 became 1, "7" became 7, and
ids below 0 count from the end. Here a request is looked up only if it is what it should be; else the answer says why.
"""

from __future__ import annotations

import json
import logging
import reprlib
import sys
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from mlflow.exceptions import MlflowException

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""In the order of preference."""

LARGEST_ANSWER = 2_000_000
"""Numbers in one answer as JSON, some 21 bytes each; the scoring server holds it several times over."""

SERVER = "mlflow.pyfunc.scoring_server"

SERVER_APP = "mlflow.pyfunc.scoring_server.app"
"""The module that is the server: it loads the model while it is imported."""

# Below mlflow's logger, whose lines the scoring server shows.
_logger = logging.getLogger("mlflow.eigenselect")


class RefusedIdsError(MlflowException, ValueError):  # type: ignore[misc]
    """Status 400, answered with its one sentence: the scoring server puts the whole request before `message`."""

    def serialize_as_json(self) -> str:  # noqa: D102
        return json.dumps({"error_code": self.error_code, "message": str(self)})


class EmbeddingModel:
    """Rows of an embedding table by their ids.

    Attributes:
        n: rows of the table.
        k: columns of a row.
    """

    def __init__(self, path: str, n: int):
        """Open the ONNX model at `path`, on CUDA where ONNX Runtime has it, and log what it runs on."""
        here = ort.get_available_providers()
        wanted = [provider for provider in PROVIDERS if provider in here]
        self._session = ort.InferenceSession(path, providers=wanted)
        self.n = n
        self.k = int(self._session.get_outputs()[0].shape[1])
        used = self._session.get_providers()
        if missing := [provider for provider in wanted if provider not in used]:
            _logger.warning("ONNX Runtime has %s and could not use it: see its own message above", missing)
        _logger.info("%d x %d vectors, looked up by ONNX Runtime on %s", self.n, self.k, used[0])

    def predict(self, data: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.floating[Any]]:
        """Vectors (batch, k) of `data["ids"]`, (batch,) integers from 0 to n-1.

        Values that are Python objects came as JSON and go back as JSON, so their number is limited.

        Raises:
            RefusedIdsError: the ids are something else, or are too many.
        """
        ids = data["ids"]
        if ids.ndim > 1:
            self._refuse(f"ids has the shape {ids.shape}")
        if ids.ndim == 0:
            self._refuse(f"ids is {_shown(ids.item())}")
        if ids.dtype == object:
            self._check_values(ids)
        elif ids.dtype.kind not in "iu":
            self._refuse(f"ids is an array of {ids.dtype}")
        elif outside := ids[(ids < 0) | (ids >= self.n)][:1].tolist():
            self._refuse(f"ids holds {outside[0]}")
        vectors: npt.NDArray[np.floating[Any]] = self._session.run(None, {"ids": ids.astype(np.int64)})[0]
        return vectors

    def check_count(self, count: int) -> None:
        """Raise a RefusedIdsError where so many ids are too many for one answer as JSON."""
        most = max(1, LARGEST_ANSWER // self.k)
        if count > most:
            raise RefusedIdsError.invalid_parameter_value(
                f"{count:,} ids are asked for at once, at most {most:,} are answered: send them in parts"
            )

    def get_raw_model(self) -> ort.InferenceSession:
        """The session, which `get_raw_model` of the loaded python function hands on."""
        return self._session

    def _check_values(self, ids: npt.NDArray[Any]) -> None:
        self.check_count(len(ids))
        for place, value in enumerate(ids):
            if isinstance(value, np.ndarray):  # of a row of `instances`
                value = value.tolist()
            if type(value) is not int or not 0 <= value < self.n:
                self._refuse(f"ids[{place}] is {_shown(value)}")

    def _refuse(self, found: str) -> NoReturn:
        raise RefusedIdsError.invalid_parameter_value(f"{found}: send a list of integers from 0 to {self.n - 1}")


def _shown(value: Any) -> str:
    """A value of a request in a few characters, in the words of JSON."""
    names = {str: "a string", float: "a float", bool: "a boolean", list: "a list", dict: "an object"}
    shown = "null" if value is None else reprlib.repr(value)
    return f"{shown}, {names[type(value)]}" if type(value) in names else shown


def _load_pyfunc(path: str, model_config: dict[str, Any]) -> EmbeddingModel:
    """What MLflow calls with the model's file and what was logged as its configuration."""
    model = EmbeddingModel(path, **model_config)
    if SERVER_APP in sys.modules:
        _guard(sys.modules[SERVER], model)
    return model


def _guard(server: Any, model: EmbeddingModel) -> None:
    """Have the scoring server refuse every body in words, and too many ids before it makes a table of them.

    By itself it answers some with its traceback, others with status 500. What is replaced is private to MLflow, of the
    version that the model is pinned to.
    """
    decode, handle = server._decode_json_input, server._handle_serving_error

    def decoded(text: Any) -> Any:
        try:
            found = decode(text)
        except (RecursionError, ValueError) as error:
            if isinstance(error, MlflowException):
                raise
            raise RefusedIdsError.invalid_parameter_value(
                "the body is JSON that is nested too deep, or holds a number of too many digits: send a list of "
                f"integers from 0 to {model.n - 1}"
            ) from None
        for given in found.values():
            rows = given.get("data", given.get("ids")) if isinstance(given, dict) else given
            if isinstance(rows, list):
                model.check_count(len(rows))
        return found

    def handled(*says: Any, **more: Any) -> None:
        handle(*says, **{**more, "include_traceback": False})

    server._decode_json_input, server._handle_serving_error = decoded, handled
