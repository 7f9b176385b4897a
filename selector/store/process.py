"""Which process a run is of, and whether that process is no more."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        host: name of the machine.
        namespace: of process ids, which containers on one machine have each.
        boot: id of the time since the machine was started.
        pid: id of the process.
        started: when it was, in ticks since the machine was.

    Of what a system does not tell, the value is empty.
    """

    host: str
    namespace: str
    boot: str
    pid: int
    started: str

    @staticmethod
    def this() -> Process:
        """The one that asks."""
        try:
            namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it names no file
        except OSError:
            namespace = ""
        pid = os.getpid()
        return Process(socket.gethostname(), namespace, _text("/proc/sys/kernel/random/boot_id"), pid, _started(pid))

    @property
    def is_over(self) -> bool:
        """Whether it has ended, as far as that can be known here: of another machine or container it cannot."""
        here = Process.this()
        if (self.host, self.namespace) != (here.host, here.namespace):
            return False
        return self.boot != here.boot or not _exists(self.pid) or self.started != _started(self.pid)


def _exists(pid: int) -> bool:
    if os.name == "nt":  # where to ask is to kill
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _started(pid: int) -> str:
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()  # a name in brackets may hold anything
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
