"""Tracking stores of their own kind, started by the tests that need them: a real server, a real PostgreSQL."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


def free_port() -> int:
    """A port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A process that can be stopped and started again with what it has.

    Attributes:
        address: for MLFLOW_TRACKING_URI.
        command: that runs it in the foreground.
        ready: whether it answers.
        user: whose process it is, where that is another.
    """

    address: str
    command: list[str]
    ready: Callable[[], bool]
    log: Path
    user: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, start_new_session=True, user=self.user, env=environment
            )
        for _ in range(600):
            if self.ready():
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.25)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """End it at once, with its children."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None


def mlflow_server(folder: Path, database: str | None = None) -> Server:
    """`mlflow server` on a database, else on sqlite, which also keeps the artifacts."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", database or f"sqlite:///{folder}/server.db"),
        *("--artifacts-destination", str(folder / "kept")),
    ]
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return True
        except OSError:
            return False

    return Server(address, command, ready, folder / "server.log")


def postgres(folder: Path) -> Server:
    """A new PostgreSQL cluster; skipped where it is not installed, or Python cannot speak to it."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'eigenselect[postgresql]'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else None  # it does not run as root
    data = Path(tempfile.mkdtemp())  # the folders of pytest are closed to others
    atexit.register(shutil.rmtree, data, ignore_errors=True)
    if user is not None:
        shutil.chown(data, user, user)
    initdb = [str(found[-1].with_name("initdb")), "--auth=trust", "--username=me", "--no-sync", f"--pgdata={data}"]
    subprocess.run(initdb, check=True, capture_output=True, user=user)
    port = free_port()
    options = [f"-p{port}", "-cunix_socket_directories=", "-clisten_addresses=127.0.0.1", "-cfsync=off"]
    address = f"127.0.0.1:{port}/postgres"

    def ready() -> bool:
        try:
            psycopg.connect(f"postgresql://me@{address}").close()
        except psycopg.OperationalError:
            return False
        return True

    command = [str(found[-1]), "-D", str(data), *options]
    return Server(f"postgresql+psycopg://me@{address}", command, ready, folder / "postgres.log", user)
