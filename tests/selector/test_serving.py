"""The registered model behind a real server of two workers: what strangers may send, and what may happen to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.running import command, only
from tests.servers import free_port

pytestmark = pytest.mark.slow

N, D = 300, 10


class Answer(NamedTuple):
    """Of the server."""

    status: int
    body: bytes


class Served(NamedTuple):
    """A server.

    Attributes:
        ask: sends a body.
        folder: where the store is, with the model.
        process: that was started; its workers are the children of its child.
    """

    ask: Callable[..., Answer]
    folder: Path
    process: subprocess.Popen[bytes]

    def workers(self) -> list[int]:
        """The processes that answer."""
        found = children(self.process.pid)
        return [pid for each in found for pid in children(each) if b"spawn_main" in commandline(pid)]

    def seconds(self) -> float:
        """Processor time of the workers so far."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.workers()]
        return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def commandline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    store = f"sqlite:///{folder}/mlflow.db"
    np.save(folder / "t.npy", np.random.default_rng(0).standard_normal((N, D)).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        patch.chdir(folder)
        words = ["table.path=t.npy", "budget=50%", "out=o", "tracking.register=served", "candidates.bits=[4]"]
        assert command(*words, *only("uniform")) == 0
    port = free_port()
    serve = [*(sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/served@champion"), "--workers", "2"]
    serve += ["--env-manager", "local", "--port", str(port)]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            serve,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, "MLFLOW_TRACKING_URI": store},
        )

    def ask(body: bytes, kind: str = "application/json") -> Answer:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read())

    try:
        for _ in range(600):
            try:
                ask(b'{"inputs": [1]}')
                break
            except OSError:
                assert process.poll() is None, (folder / "serve.log").read_text()
                time.sleep(0.2)
        yield Served(ask, folder, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


GOOD = b'{"inputs": [1, 299]}'

BODIES = [
    *(b"", b"\0", b"\xff\xfe", b"null", b"3", b'"x"', b"[]", b"{}", b"true", b"[" * 500, b'{"inputs":' + b"[" * 300),
    *(b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}", b'{"inputs": [NaN]}', b'{"inputs": {"ids": [Infinity, 1e400]}}'),
    *(
        b'{"inputs": [1], "instances": [1]}',
        b'{"inputs": null}',
        b'{"inputs": "x"}',
        b'{"inputs": {"ids": {"a": [1]}}}',
    ),
    *(b'{"dataframe_split": {}}', b'{"dataframe_split": 3}', b'{"dataframe_split": {"columns": ["ids"], "data": 3}}'),
    *(b'{"dataframe_records": 3}', b'{"dataframe_records": [3]}', b'{"instances": 3}', b'{"instances": {"ids": "x"}}'),
    *(b'{"instances": [{"ids": 1}, 3]}', b'{"instances": [{"b64": "AAA"}]}', b'{"inputs": {"ids": ["\\ud800"]}}'),
    *(b'{"inputs": {"ids": [1, "a", null, {}, []]}}', b'{"inputs": {"ids": [[[[1]]]]}}', b'{"inputs": {"ids": null}}'),
    b'{"dataframe_split": {"columns": ["ids"], "data": [[1], [2, 3]]}}',
    b'{"dataframe_split": {"columns": ["x"], "data": [[1]]}}',
    b'{"dataframe_split": {"index": [0, 0], "columns": ["ids"], "data": [[1], [2]]}}',
    b'{"inputs": {"ids": ["' + b"x" * 1_000_000 + b'"]}}',
    b"[" * 100_000,
    b'{"inputs": {"ids": [' + b"9" * 5000 + b"]}}",
]

KINDS = ["text/csv", "text/plain", "application/x-parquet", "application/json; charset=utf-16", "x" * 50]


def check(answer: Answer, served: Served) -> None:
    """No word of what the server is made of."""
    for part in (b"Traceback", b"site-packages", str(served.folder).encode(), sys.prefix.encode(), b'.py\\"'):
        assert part not in answer.body, answer.body


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:50].decode("latin-1"))
def test_any_body_is_refused_in_words(body: bytes, served: Served) -> None:
    answer = served.ask(body)
    assert answer.status == 400 and json.loads(answer.body)["message"], answer
    check(answer, served)


@pytest.mark.parametrize("kind", KINDS)
def test_any_other_content_is_refused(kind: str, served: Served) -> None:
    answer = served.ask(b"ids\n1\n", kind)
    assert 400 <= answer.status < 500
    check(answer, served)


MANY = {
    "inputs": {"inputs": {"ids": [1] * 1_000_000}},
    "instances": {"instances": [{"ids": 1}] * 1_000_000},
    "dataframe_split": {"dataframe_split": {"columns": ["ids"], "data": [[1]] * 1_000_000}},
}


@pytest.mark.parametrize("form", MANY)
def test_a_million_ids_are_refused_in_less_than_a_second(form: str, served: Served) -> None:
    before = served.seconds()
    answer = served.ask(json.dumps(MANY[form]).encode())
    took = served.seconds() - before
    assert answer.status == 400 and b"1,000,000 ids are asked for at once" in answer.body
    assert took < 1, f"{took} s of processor time"
    print(f"a million ids as {form}: refused in {took:.2f} s of processor time")


def test_two_hundred_at_once_are_answered(served: Served) -> None:
    bodies = [json.dumps({"inputs": [i, N - 1 - i]}).encode() for i in range(200)]
    alone = [served.ask(body) for body in bodies[:20]]
    start = time.monotonic()
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(served.ask, bodies))
    print(f"200 at once: {time.monotonic() - start:.2f} s")
    assert {answer.status for answer in answers} == {200} and answers[:20] == alone


def test_a_worker_that_is_killed_is_replaced_and_nobody_goes_without_an_answer(served: Served) -> None:
    expected, before = served.ask(GOOD), served.workers()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    for _ in range(1200):
        assert served.ask(GOOD) == expected
        if len(now := served.workers()) == 2 and {*now} != {*before}:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("no new worker")


def test_a_model_whose_file_is_overwritten_or_gone_answers_as_before(served: Served) -> None:
    expected = served.ask(GOOD)
    files = [path for path in served.folder.rglob("model.onnx") if "o" not in path.relative_to(served.folder).parts]
    assert files
    for change in (lambda path: path.write_bytes(bytes(path.stat().st_size)), lambda path: path.unlink()):
        for path in files:
            path.chmod(0o644)
            change(path)
        assert [served.ask(GOOD) for _ in range(20)] == [expected] * 20
