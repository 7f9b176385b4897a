"""The face: what `import eigenselect` gives, and what the command says before anything heavy is imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import eigenselect
from eigenselect import compressors
from eigenselect.__main__ import COMMANDS
from eigenselect.selector.commands.configuration import REQUIRED, Setting, header, settings_of
from eigenselect.selector.commands.words import settings
from tests.running import command

HEAVY = {"matplotlib", "mlflow", "numba", "onnx", "onnxruntime", "torch"}


def imported(code: str, folder: Path) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `code`."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stdout)"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=folder, capture_output=True, text=True, check=True
    )
    return {*run.stdout.splitlines()[-1].split()}


def test_the_face_imports_nothing_until_a_name_is_used(tmp_path: Path) -> None:
    found = imported("import eigenselect", tmp_path)
    assert "eigenselect" in found and not found & (HEAVY | {"numpy", "scipy", "hydra"})
    found = imported("import eigenselect; eigenselect.Uniform(bits=4)", tmp_path)
    assert "numpy" in found and not found & HEAVY


def test_the_face_has_every_name_it_lists() -> None:
    assert {*compressors.__all__} < {*eigenselect.__all__} <= {*dir(eigenselect)}
    for name in eigenselect.__all__:
        assert getattr(eigenselect, name) is not None
    with pytest.raises(AttributeError, match="'eigenselect' has no attribute 'uniform'"):
        eigenselect.uniform  # noqa: B018
    assert eigenselect.load is compressors.load, "of a payload, not of a model"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--version") == 0
    assert capsys.readouterr().out == f"eigenselect {eigenselect.__version__}\n"


@pytest.mark.parametrize("words", [[], *([each] for each in COMMANDS)], ids=lambda words: "".join(words) or "main")
def test_help_is_short_and_whole(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*words, "--help") == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    name = words[0] if words else "config"
    for line in header(name):
        assert line in lines
    flat = " ".join(printed.split())
    for setting in settings_of(name):
        assert setting.says
        if not setting.common:
            names = (setting.key, f" .{setting.key.rpartition('.')[2]}")  # after others of its group
            assert any(f"{name}, " in flat or f"{name}: docs/command.md" in flat for name in names)
            continue
        assert f"{setting.key} {setting.says}" in flat.replace("=...", "")
        assert setting.default in (REQUIRED, "null") or f"({setting.default})" in flat


def test_settings_are_those_that_hydra_composes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--cfg", "job", "--package", "table") == 0
    composed = [f"table.{name}" for name in re.findall(r"^([a-z]\w*):", capsys.readouterr().out, re.MULTILINE)]
    assert composed == [setting.key for setting in settings_of("config") if setting.key.startswith("table.")]


MISSPELT = {
    "budgett=3": "there is no setting budgett: did you mean budget?",
    "tabel.path=x": "there is no setting tabel: did you mean table?",
    "table.pth=x": "there is no setting table.pth: did you mean table.path?",
    "table.path.x=3": "there is no setting table.path.x: table.path is a value",
    "export.taget=cpu": "there is no setting export.taget: did you mean export.target?",
    "candidates.bit=[1]": "there is no setting candidates.bit: did you mean candidates.bits?",
    "candidates=qick": "candidates = 'qick' is not there: did you mean quick?",
    "~candidates.pool.kmean": "there is no setting candidates.pool.kmean: did you mean candidates.pool.kmeans?",
    "seed=0 -m budgt=1,2": "there is no setting budgt: did you mean budget?",
    "exprot host=a": "there is no command exprot: did you mean export?; settings are written key=value",
    "--multirn seed=0": "there is no flag --multirn: did you mean --multirun?",
    "--budget=16MB": "there is no flag --budget=16MB: settings have no dashes: budget=16MB",
    "export hots=a": "there is no setting hots: did you mean host?",
    "export -m": "there is no flag -m: settings are written key=value",
    "check d tabel=3": "there is no setting tabel: did you mean table?",
    "check d table.tokns=3": "there is no setting table.tokns: did you mean table.tokens?",
    "native incude=x": "there is no setting incude: did you mean include?",
    "validate validate.taks=x": "there is no setting validate.taks: did you mean validate.tasks?",
    "table.path=a=b.txt": """table.path=a=b.txt cannot be read: quote the value, 'table.path="a=b.txt"'""",
    "out=a(1": """out=a(1 cannot be read: quote the value, 'out="a(1"'""",
    "export host=a#b": """host=a#b cannot be read: quote the value, 'host="a#b"'""",
    "check d table=[x": """table=[x cannot be read: quote the value, 'table="[x"', or in a list each of its texts""",
    "seed=1,2": """seed=1,2 has several values: -m makes a run of each, and 'seed="1,2"' is one text""",
    "--cfg nope": "argument --cfg/-c: invalid choice",
    "x": "there is no command x: there are card, check, export, native, plan, push, validate; settings are written key",
}


@pytest.mark.parametrize("line", MISSPELT)
def test_a_mistake_is_one_line_with_the_cure(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*line.split()) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"error: {MISSPELT[line]}") and error.count("\n") == 1


@pytest.mark.parametrize(
    "line", ["budgett=3", "exprot", "export hots=a", "native x=1", "validate table.pth=x", "--help", "export --help"]
)
def test_a_mistake_costs_no_heavy_import(line: str, tmp_path: Path) -> None:
    words = line.split()
    found = imported(f"from eigenselect.__main__ import run\nassert run({words}) in (0, 2)", tmp_path)
    assert "eigenselect" in found and not found & HEAVY


KNOWN = [Setting(key, "null", "") for key in ("out", "host", "table.path")]


def test_a_value_is_text() -> None:
    words = ["host='a=b (1).onnx'", 'out="x"', "table.path=007"]
    assert settings(words, KNOWN) == {"host": "a=b (1).onnx", "out": "x", "table.path": "007"}
    assert settings(["out=", "host=x y/b-1.onnx", "table.path=1e5"], KNOWN) == {
        "out": "",
        "host": "x y/b-1.onnx",
        "table.path": "1e5",
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["out=a", "out=b"], "out is given twice: give it once"),
        (["out=a,b"], """out=a,b cannot be read: quote the value, 'out="a,b"'"""),
        (["+out=a"], "there is no setting +out: did you mean out?"),
        (["host"], "'host' is not understood: settings are written key=value"),
    ],
)
def test_words_that_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        settings(words, KNOWN)


def test_the_quoting_that_is_advised_works(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.txt").mkdir()
    assert command("check", 'table="a=b.txt"') == 2  # a folder comes first
    capsys.readouterr()
    assert command("--cfg", "job", "--package", "table", 'table.path="a=b.txt"') == 0
    assert "path: a=b.txt\n" in capsys.readouterr().out


def completions(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> set[str]:
    monkeypatch.setenv("COMP_LINE", line)
    assert command("-sc", "query=bash") == 0
    out, error = capsys.readouterr()
    assert error == ""
    return {*out.split()}


def test_a_shell_completes_commands_and_settings(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert {*COMMANDS, "budget=", "candidates="} <= completions("eigenselect ", monkeypatch, capsys)
    assert "check" in completions("eigenselect ch", monkeypatch, capsys)
    assert completions("eigenselect table.pat", monkeypatch, capsys) == {"table.path="}
    assert completions("eigenselect validate validate.t", monkeypatch, capsys) == {"validate.tasks="}
    assert completions("eigenselect export ", monkeypatch, capsys) >= {"host=", "payload=", "out="}
    assert "candidates=auto" in completions("eigenselect candidates=", monkeypatch, capsys)


@pytest.mark.parametrize(("stop", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("reached", [True, False], ids=["as it is", "as an error of a library"])
def test_a_stopped_command_says_so_by_its_code(stop: str, code: int, reached: bool, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "import eigenselect.__main__ as face\n"
        "import eigenselect.selector.commands.native as native\n"
        "def work(words):\n"
        "    try:\n"
        f"        os.kill(os.getpid(), signal.{stop})\n"
        "        signal.pause()\n"
        "    except KeyboardInterrupt as stop:\n"
        f"        if {reached}: raise\n"
        "        raise ImportError('initialization failed') from stop\n"
        "native.main = work\n"
        "sys.argv = ['eigenselect', 'native']\n"
        "face.main()\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (code, "stopped: the same command goes on from here\n")


def test_a_reader_that_has_read_enough_is_no_bug() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "eigenselect", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout and run.stderr
        run.stdout.close()
        assert (run.stderr.read(), run.wait()) == (b"", 141)


def test_a_stop_that_python_ignores_is_heard_a_moment_later(tmp_path: Path) -> None:
    code = (
        "import os, signal, time, weakref\nfrom eigenselect.__main__ import listen\nlisten()\n"
        "class It: pass\nit = It()\n"
        "gone = weakref.ref(it, lambda reference: [os.kill(os.getpid(), signal.SIGINT), *range(9)])\n"
        "try:\n    del it\n    print('ignored', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('heard')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.replace("\n", "") == "ignoredheard" and done.stderr == ""
