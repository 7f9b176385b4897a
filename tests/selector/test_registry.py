"""The chosen model in the registry: logged, registered, loaded by its alias and asked over HTTP."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime as ort
import pytest
from mlflow import MlflowClient

from eigenselect.compressors import Uniform, load
from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.export import save, to_onnx
from eigenselect.selector.run.settings import check_registration
from eigenselect.selector.store import serving
from eigenselect.selector.store.model import SERVED_WITH
from tests.running import command
from tests.test_mlflow_run import environment

N, D = 300, 10
NAME = "glove, small"
URI = f"models:/{NAME}@champion"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of every selection here, with a table and a tracking store of its own."""
    folder = tmp_path_factory.mktemp("registry")
    vectors = np.random.default_rng(5).standard_normal((N, D)) * np.geomspace(3, 0.3, D)
    np.save(folder / "t.npy", vectors.astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.chdir(folder)
        yield folder


def select(*arguments: str) -> int:
    """Exit code of a small selection with the hand-over in `o`."""
    words = ["table.path=t.npy", "budget=2kB", "out=o", "candidates.bits=[1,2,4]", "candidates.rates=[3]", *arguments]
    return command(*words)


@pytest.fixture(scope="module")
def record(folder: Path) -> dict[str, Any]:
    """The decision of a selection that registered its choice."""
    assert select(f"tracking.register='{NAME}'") == 0
    record: dict[str, Any] = json.loads((folder / "o" / "selection.json").read_text())
    return record


@pytest.fixture(scope="module")
def rows(folder: Path, record: dict[str, Any]) -> np.ndarray:
    """Every row of the payload that was handed over."""
    return load(folder / "o" / "payload.safetensors").read(slice(0, N))


def test_the_version_holds_the_decision(record):
    client = MlflowClient()
    version = client.get_model_version_by_alias(NAME, "champion")
    chosen, runner_up = record["chosen"], record["runner_up"]
    eos = chosen["measures"]["eos"]
    assert version.tags == {
        "chosen": chosen["name"],
        "compressor": chosen["compressor"],
        "bytes": str(chosen["nbytes"]),
        "eos": str(eos),
        "criterion": "eos",
        "budget_bytes": "2000",
        "table_digest": record["table"]["digest"],
        "run_id": record["run_id"],
        "runner_up": runner_up["name"],
        "runner_up_distance": str(eos - runner_up["measures"]["eos"]),
        "question": record["question"],
        **{f"use_{use}": each["chosen"] for use, each in record["other_uses"].items()},
    }
    assert "use=trained" in record["question"] and {*record["other_uses"]} == {"frozen", "retrieval"}
    assert (str(version.version), version.run_id) == ("1", record["run_id"])
    assert f"{chosen['name']} has the best eos" in version.description
    (output,) = client.get_run(record["run_id"]).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.status == "READY" and logged.source_run_id == record["run_id"]
    assert version.source == f"models:/{logged.model_id}"
    assert version.tags.items() <= logged.tags.items()
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": NAME, "version": version.version}]


def test_loaded_by_the_alias_it_is_the_payload(folder, record, rows):
    ids = np.array([0, N - 1, 7, 7])
    model = mlflow.pyfunc.load_model(URI)
    for kind in (np.int64, np.int32, np.uint16):
        np.testing.assert_array_equal(model.predict({"ids": ids.astype(kind)}), rows[ids])
    for wrong, expected in (([1.0], "an array of float64"), ([-1], "ids holds -1"), ([0, N], f"ids holds {N}")):
        with pytest.raises(ValueError, match=f"{expected}: send a list of integers from 0 to 299"):
            model.predict({"ids": np.array(wrong)})

    onnx_model = mlflow.onnx.load_model(URI)
    assert onnx_model.SerializeToString() == (folder / "o" / "model.onnx").read_bytes()
    about = model.metadata
    assert about.metadata == {"ids": "integers from 0 to 299"}
    assert about.signature.inputs.input_names() == ["ids"] and about.signature.outputs.inputs[0].shape == (-1, D)
    np.testing.assert_array_equal(model.predict(model.input_example), rows[:3])
    # What it is pinned to is all that it needs: the file inside it imports nothing of ours (test_imports.py).
    pins = Path(mlflow.pyfunc.get_model_dependencies(URI)).read_text().split()
    assert [pin.partition("==")[0] for pin in pins] == list(SERVED_WITH) and all("==" in pin for pin in pins)


def aliases(name: str) -> dict[str, str]:
    """Alias -> version; sqlite gives the versions as numbers, a server as text."""
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(name).aliases.items()}


@pytest.mark.slow
def test_the_next_version_takes_the_alias_over(record, capsys):
    other = "other"
    assert select(f"tracking.register={other}", "criterion=reconstruction_error") == 0
    assert select(f"tracking.register={other}", "tracking.alias=best-1", "~candidates.pool.uniform") == 0
    first, second = (f"version {number} of {other}" for number in (1, 2))
    printed = capsys.readouterr().out
    assert f"{first}, which champion now points to" in printed and f"{second}, which best-1 now points to" in printed
    client = MlflowClient()
    assert aliases(other) == {"champion": "1", "best-1": "2"}
    tags = client.get_model_version(other, "1").tags
    assert tags["criterion"] == "reconstruction_error" and float(tags["reconstruction_error"]) > 0 and "eos" in tags
    assert select(f"tracking.register={other}") == 0
    assert aliases(other) == {"champion": "3", "best-1": "2"}
    capsys.readouterr()

    before = [(model.name, dict(model.aliases)) for model in client.search_registered_models()]
    assert select() == 0
    assert "egistered" not in capsys.readouterr().out
    assert [(model.name, dict(model.aliases)) for model in client.search_registered_models()] == before


def test_what_is_printed_can_be_pasted(folder, record, rows, capsys):
    assert select("tracking.register='two [b]words'") == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines()[-3:])
    assert lines["Registered"] == "version 1 of two [b]words, which champion now points to"
    assert (
        lines["Serve"].strip()
        == "mlflow models serve -m 'models:/two [b]words@champion' --env-manager local --port 5001"
    )
    got = eval(lines["Load"], {"mlflow": mlflow, "ids": np.arange(3)})
    np.testing.assert_array_equal(got, rows[:3])


BAD_NAMES = {
    "slash": ("a/b", "champion", "not hold / : ?"),
    "colon": ("a:b", "champion", "not hold / : ?"),
    "query": ("a?b", "champion", "not hold / : ?"),
    "dots": ("..", "champion", "must not start with ."),
    "empty": ("", "champion", "1 to 256"),
    "long": ("x" * 257, "champion", "1 to 256"),
    "blank at the end": ("a ", "champion", "1 to 256"),
    "line break": ("a\nb", "champion", "1 to 256"),
    "alias": ("a", "the best", "letters, digits, _ and -"),
    "alias line break": ("a", "best\n", "letters, digits, _ and -"),
    "empty alias": ("a", "", "letters, digits, _ and -"),
    "long alias": ("a", "x" * 256, "1 to 255"),
    "latest": ("a", "Latest", "to itself"),
    "a version as alias": ("a", "v3", "to itself"),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_bad_names_are_refused(case):
    name, alias, expected = BAD_NAMES[case]
    with pytest.raises(ValueError) as refused:
        check_registration(name, alias)
    assert expected in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["a", "a b", "été", "org.glove-50_b2", "a@b", "x" * 256, None])
def test_other_names_are_not(name):
    check_registration(name, "champion")
    check_registration(name, "v3x")


@pytest.mark.parametrize(
    ("words", "registry", "expected"),
    [
        (["tracking.register=a/b"], None, "'a/b'"),
        (["tracking.register=a", "tracking.alias=v1"], None, "'v1'"),
        (
            ["tracking.register=a"],
            "ftp://nowhere/x",
            "registry ftp://nowhere/x cannot be used: Model Registry features",
        ),
        (
            ["tracking.register=a"],
            "http://127.0.0.1:9",
            "registry http://127.0.0.1:9 cannot be used: it does not answer",
        ),
    ],
    ids=["name", "alias", "no registry", "unreachable registry"],
)
def test_refused_before_any_work(words, registry, expected, folder, record, monkeypatch, capsys):
    if registry:
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    before = len(MlflowClient().search_runs(["1"]))
    assert select(*words, "out=elsewhere") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: tracking.") and errors.count("\n") == 1 and expected in errors, errors
    assert not (folder / "elsewhere").exists() and len(MlflowClient().search_runs(["1"])) == before


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def ask(folder: Path, record: dict[str, Any]) -> Iterator[Ask]:
    """Sends a body to a real server of the registered model; gives the status and the JSON of the answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", URI, "--env-manager", "local"]
    settings = {**environment(os.environ["MLFLOW_TRACKING_URI"]), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    log = folder / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=settings, stdout=file, stderr=file, start_new_session=True
        )

    def ask(body: Any) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1):
                    break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.25)
        used = next(provider for provider in serving.PROVIDERS if provider in ort.get_available_providers())
        assert f"{N} x {D} vectors, looked up by ONNX Runtime on {used}" in log.read_text()
        yield ask
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"ids": [1, N - 1]}},
        {"inputs": [1, N - 1]},
        {"instances": [1, N - 1]},
        {"instances": [{"ids": 1}, {"ids": N - 1}]},
        {"dataframe_split": {"columns": ["ids"], "data": [[1], [N - 1]]}},
        {"inputs": {"ids": [1, N - 1], "unknown": [3]}},
    ],
    ids=str,
)
def test_ids_are_answered_with_their_vectors(body, ask, rows):
    status, answer = ask(body)
    assert status == 200 and {*answer} == {"predictions"}
    np.testing.assert_array_equal(np.array(answer["predictions"], np.float32), rows[[1, N - 1]])


@pytest.mark.parametrize("body", [{"inputs": {"ids": []}}, {"inputs": []}, {"instances": []}], ids=str)
def test_no_ids_are_answered_with_no_vectors(body, ask):
    assert ask(body) == (200, {"predictions": []})


WRONG = {
    "fraction": ([3, 1.5], "ids[1] is 1.5, a float"),
    "float of a whole number": ([1.0], "ids[0] is 1.0, a float"),
    "negative": ([5, 6, -1], "ids[2] is -1"),
    "too large": ([N - 1, N], f"ids[1] is {N}"),
    "beyond 64 bits": ([1 << 80], f"ids[0] is {1 << 80}"),
    "string": (["king"], "ids[0] is 'king', a string"),
    "digits": (["1"], "ids[0] is '1', a string"),
    "long string": (["x" * 100_000], "ids[0] is 'xxxxxxxxxxxx...xxxxxxxxxxxxx', a string"),
    "null": ([None], "ids[0] is null"),
    "boolean": ([True], "ids[0] is True, a boolean"),
    "nested": ([[1, 2], [3, 4]], "ids has the shape (2, 2)"),
    "ragged": ([[1, 2], [3]], "ids[0] is [1, 2], a list"),
    "object": ([{"a": 1}], "ids[0] is {'a': 1}, an object"),
    "one integer": (3, "ids is 3"),
    "one string": ("king", "ids is 'king', a string"),
    "nothing": (None, "ids is null"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_ids_are_named(case, ask):
    ids, expected = WRONG[case]
    sentence = f"{expected}: send a list of integers from 0 to 299"
    refused = (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": sentence})
    assert ask({"inputs": {"ids": ids}}) == refused
    if isinstance(ids, list):
        assert ask({"instances": {"ids": ids}}) == refused


def test_a_huge_batch_is_refused_with_what_is_answered(ask, rows):
    most = serving.LARGEST_ANSWER // D
    status, answer = ask({"inputs": {"ids": [7] * (most + 1)}})
    assert (status, answer["message"]) == (
        400,
        "200,001 ids are asked for at once, at most 200,000 are answered: send them in parts",
    )
    status, answer = ask({"inputs": {"ids": [i % N for i in range(20_000)]}})
    np.testing.assert_array_equal(np.array(answer["predictions"], np.float32), rows[np.arange(20_000) % N])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inputs": {"id": [1]}}, "Model is missing inputs ['ids']. Note that there were extra inputs: ['id']"),
        ({"inputs": {}}, "Model is missing inputs ['ids']"),
        ({"ids": [1]}, "exactly one of the input fields"),
        ([1, 2], "exactly one of the input fields"),
        (b"no json", "Ensure that input is a valid JSON formatted string"),
    ],
    ids=["wrong key", "no key", "no inputs", "bare list", "no JSON"],
)
def test_other_requests_are_refused_by_the_scoring_server(body, expected, ask):
    status, answer = ask(body)
    assert status == 400 and expected in answer["message"]


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    payload = Uniform(4).compress(EmbeddingTable(np.eye(4, dtype=np.float32)), np.random.default_rng(0))
    save(to_onnx(payload), tmp_path / "model.onnx")
    return str(tmp_path / "model.onnx")


def test_only_what_came_as_json_is_limited(model_file, monkeypatch):
    monkeypatch.setattr(serving, "LARGEST_ANSWER", 12)  # three rows of four columns
    model = serving.EmbeddingModel(model_file, 4)
    ids = np.array([0, 1, 2, 3])
    assert model.predict({"ids": ids}).shape == (4, 4) and model.predict({"ids": ids[:3].astype(object)}).shape == (
        3,
        4,
    )
    with pytest.raises(serving.RefusedIdsError, match="4 ids are asked for at once, at most 3 are answered"):
        model.predict({"ids": ids.astype(object)})


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the served model logs; mlflow's logger hands nothing on to the root's."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda line: found.append(f"{line.levelname} {line.getMessage()}")  # type: ignore[method-assign]
    logger = logging.getLogger("mlflow.eigenselect")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_a_provider_that_is_not_used_is_logged(model_file, lines, monkeypatch):
    here = ort.get_available_providers()
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    if "CUDAExecutionProvider" in here:
        pytest.skip("this ONNX Runtime has the CUDAExecutionProvider")
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        serving.EmbeddingModel(model_file, 4)
    assert lines == [
        "WARNING ONNX Runtime has ['CUDAExecutionProvider'] and could not use it: see its own message above",
        "INFO 4 x 4 vectors, looked up by ONNX Runtime on CPUExecutionProvider",
    ]


@pytest.mark.gpu
def test_cuda_is_used_where_it_is(model_file, lines):
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDAExecutionProvider")
    model = serving.EmbeddingModel(model_file, 4)
    assert lines == ["INFO 4 x 4 vectors, looked up by ONNX Runtime on CUDAExecutionProvider"]
    assert model.predict({"ids": np.arange(4)}).shape == (4, 4)
