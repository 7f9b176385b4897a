"""Commands that are stopped, by SIGKILL, SIGTERM or SIGINT, at named points and at random times, and run again.

    python -m tests.killing FOLDER KILLS

Each command runs in a child of this process, which has imported everything and done nothing else. After a stop the same
command runs again, undisturbed. Then its results must equal those of a run that was never stopped, no run may be open,
no file may be left behind, and the choice be registered once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from eigenselect.__main__ import listen, run
from eigenselect.compressors import Compressor, Payload
from eigenselect.export.host import proof
from eigenselect.export.verification import parity
from eigenselect.export.verification.timing import BATCHES, LookupTime, LookupTimer, all_threads
from eigenselect.selector.store import output
from tests.export.hosts import make_host, save_host
from tests.running import only
from tests.stores import make_store

SEED = 20261128

TABLE = np.random.default_rng(5).standard_normal((300, 8)).astype(np.float32)

SELECT = [
    *("table.path=t.npy", "table.tokens=t.txt", "budget=1200", "out=o", "tracking.register=small"),
    *("candidates.bits=[1,2,4]", "candidates.rates=[]", "export.host=host.onnx"),
    *only("uniform", "stochastic", "kmeans", "identity"),
]

COMMANDS = {
    "select": SELECT,
    "validate": ["validate", *SELECT[:-5], "budget=100%", "validate.scores=scores.csv"],
    "export": ["export", "host=host.onnx", "payload=p/payload.safetensors", "out=new.onnx"],
    "check": ["check", "p", "json=checked.json"],
}

POINTS: list[tuple[str, Any, str]] = [
    *(
        ("select", MlflowClient, name)
        for name in (
            *("create_run", "log_batch", "log_text", "log_inputs", "set_terminated", "log_artifacts"),
            *("create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs"),
            *("create_registered_model", "create_model_version", "set_registered_model_alias"),
        )
    ),
    *(("select", Compressor, "compress"), ("select", Payload, "save"), ("select", output, "_exchanged")),
    *(("validate", MlflowClient, name) for name in ("create_run", "log_batch", "log_artifacts", "set_terminated")),
    *(("export", Path, "replace"), ("check", Path, "write_text")),
]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def prepare(folder: Path) -> None:
    """The inputs of every command in `folder`, and a store; `p` is a hand-over of an earlier selection."""
    (folder / "tmp").mkdir(parents=True)
    np.save(folder / "t.npy", TABLE)
    (folder / "t.txt").write_text("".join(f"token{i}\n" for i in range(len(TABLE))))
    names = [f"{kind}-b{bits}" for kind in ("uniform", "kmeans") for bits in (1, 2, 4)]
    (folder / "scores.csv").write_text("candidate,score\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names)))
    save_host(make_host(TABLE), folder / "host.onnx", external=True)
    shutil.copy(folder.parent / "new.db", folder / "mlflow.db")


def begin(folder: Path, words: list[str], fault: Callable[[], None] | None = None) -> int:
    """The id of a child that runs a command in `folder`."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.chdir(folder)
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///mlflow.db"
        os.environ["TMPDIR"] = str(folder / "tmp")
        listen()
        sys.argv = ["eigenselect", *words]
        if fault is not None:
            fault()
        code = run(words)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """The exit code of a child; that of a signal is negative."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dying_at(place: Any, name: str, call: int, number: int) -> Callable[[], None]:
    """Send this process the signal in the `call`-th call of a function, before it does anything."""
    original, calls = getattr(place, name), itertools.count(1)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    return lambda: setattr(place, name, dying)


def state(folder: Path, command: str) -> dict[str, Any]:
    """What a command has left, but for the ids and times of its runs."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    kept = {name for name in files if not name.startswith("mlruns/") and "__pycache__" not in name}
    found: dict[str, Any] = {"files": sorted(kept)}
    with sqlite3.connect(folder / "mlflow.db") as store:
        found["open"] = store.execute("SELECT name, status FROM runs WHERE status = 'RUNNING'").fetchall()
        found["versions"] = store.execute("SELECT name, version FROM model_versions").fetchall()
        found["aliases"] = store.execute("SELECT name, alias, version FROM registered_model_aliases").fetchall()
        found["half-made"] = store.execute(
            "SELECT status FROM logged_models WHERE status = 1 AND lifecycle_stage = 'active'"
        ).fetchall()
    if command == "select" and (folder / "o" / "selection.json").exists():
        record = json.loads((folder / "o" / "selection.json").read_text())
        found["record"] = {key: value for key, value in record.items() if key != "run_id"}
        for name in ("payload.safetensors", "model.onnx", "host.onnx", "host.onnx.data", "tokens.txt"):
            found[name] = hashlib.sha256((folder / "o" / name).read_bytes()).hexdigest()
    if command == "validate" and (folder / "o" / "evidence.json").exists():
        found["evidence"] = json.loads((folder / "o" / "evidence.json").read_text())["overall"]
    return found


def faults(kills: int, seconds: dict[str, float]) -> Iterator[tuple[str, str, Callable[[], None] | None, float, int]]:
    """Command, what is done to it, how it dies by itself, after how many seconds it is killed, and the signal."""
    chance = random.Random(SEED)
    named = [(*point, number) for point in POINTS for number in (signal.SIGKILL, chance.choice(SIGNALS[1:]))]
    chance.shuffle(named)
    for i in range(kills):
        if i % 4 < 3 and named:
            command, place, name, number = named.pop()
            call = chance.choice((1, 2, 5)) if name in ("create_run", "log_batch", "compress") else 1
            yield command, f"{name}, call {call}", dying_at(place, name, call, number), 0, number
        else:
            command = chance.choice([*COMMANDS])
            after = chance.uniform(0, seconds[command])
            yield command, f"after {after:.2f} s", None, after, chance.choice(SIGNALS)


def kill(folder: Path, expected: dict[str, Any], case: tuple[str, str, Any, float, int]) -> None:
    """Stop a command as the case says, run it again, and compare."""
    command, what, fault, after, number = case
    prepare(folder)
    (folder / "p").symlink_to(folder.parent / "undisturbed-select" / "o")
    child = begin(folder, COMMANDS[command], fault)
    if fault is None:
        time.sleep(after)
        os.kill(child, number)
    code = ended(child)
    says = f"{command}, {signal.Signals(number).name}, {what}: exit code {code}"
    allowed = {0, -number} if number == signal.SIGKILL else {0, 128 + number}
    log = folder.with_suffix(".log")
    assert code in allowed and "Traceback" not in log.read_text(), f"{says}\n{log.read_text()}"
    if number != signal.SIGKILL:  # a stop that cleans up after itself
        left = state(folder, command)
        assert not left["open"] and not [name for name in left["files"] if "eigenselect-" in name or "tmp/" in name], (
            f"{says}: {left}"
        )
    assert ended(begin(folder, COMMANDS[command])) == 0, f"{says}; again:\n{log.read_text()}"
    found = state(folder, command)
    assert found == expected, f"{says}\n{found}\n{expected}\n{log.read_text()}"
    print(says, flush=True)
    shutil.rmtree(folder)


def quiet_times() -> None:
    """Nothing that differs from run to run is measured: no lookup is timed, no memory looked at."""

    def times(self: LookupTimer, model: Any) -> list[LookupTime]:
        size = float(model.stat().st_size)
        return [LookupTime(batch, n, size, size / 1000) for n in sorted({1, all_threads()}) for batch in BATCHES]

    LookupTimer.times = times  # type: ignore[method-assign]
    parity.session_bytes = proof.session_bytes = lambda *args: 0  # type: ignore[assignment]


def main(folder: Path, kills: int) -> None:
    """Print a line for each kill that went as it must; exit with 1 and what was wrong if one did not."""
    quiet_times()
    expected, seconds = {}, {}
    child = os.fork()
    if not child:
        make_store(folder / "new.db")
        os._exit(0)
    ended(child)
    for command, words in COMMANDS.items():
        place = folder / f"undisturbed-{command}"
        prepare(place)
        (place / "p").symlink_to(folder / "undisturbed-select" / "o")
        began = time.monotonic()
        code = ended(begin(place, words))
        assert code == 0, place.with_suffix(".log").read_text()
        expected[command], seconds[command] = state(place, command), time.monotonic() - began
    failures = []
    for i, case in enumerate(faults(kills, seconds)):
        try:
            kill(folder / f"kill-{i}", expected[case[0]], case)
        except AssertionError as error:
            failures.append(f"{case[0]}, {case[1]}: {error}")
    sys.exit("\n\n".join(failures) or None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
