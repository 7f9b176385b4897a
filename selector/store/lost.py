"""What is done when a tracking store fails: which errors are its own, and what is said of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from mlflow import get_tracking_uri
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

P = ParamSpec("P")
T = TypeVar("T")

FAILURES = (MlflowException, SQLAlchemyError, OSError, ImportError)
"""What a store raises: its own errors, those of its database, of its files and network, and of a missing driver."""


class StoreLostError(Exception):
    """The tracking store failed in the middle of the work."""


def reaches_store(work: Callable[P, T]) -> Callable[P, T]:
    """Make of each failure of the store in `work` a StoreLostError of one line."""

    @wraps(work)
    def reaching(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except FAILURES as error:
            raise StoreLostError(
                f"the tracking store {named(get_tracking_uri())} was lost: {reason_of(error)}; what was measured is "
                "kept: when the store is back, the same command goes on from here"
            ) from error

    return reaching


def reason_of(error: BaseException) -> str:
    """What is wrong, from an error of a store, in a few words."""
    if isinstance(error, ModuleNotFoundError):
        return f"its driver is not installed, pip install {DRIVERS.get(str(error.name), error.name)}"
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return "it does not answer" if "failed with exception" in text else named(text.split(". ")[0])[:LONGEST].rstrip(".")


LONGEST = 200
"""Characters of a reason."""

DRIVERS = {
    "psycopg": "'eigenselect[postgresql]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "google": "google-cloud-storage",
}
"""Module -> the package that has it, where that is of another name."""


def named(text: str) -> str:
    """A text without the passwords of the addresses in it."""
    return re.sub(r"(?<=://)([^:/@\s]*):[^@/\s]*@", r"\1:***@", text)


@contextmanager
def impatient() -> Iterator[None]:
    """A server that is down is found out at once meanwhile, not after MLflow's minutes of retries."""
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in quick}
    os.environ.update({name: value for name, value in quick.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
