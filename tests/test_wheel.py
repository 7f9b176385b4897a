"""The wheel, in an environment of its own, and run in a folder of modules that are named as the rooms are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "src", "compressors", "conf", "export", "selector")

OLDEST_SETUPTOOLS = 77
"""As pyproject asks for: it is not downloaded here."""

STRANGERS = ("conf/__init__.py", "export.py", "selector.py", "compressors.py")


def ran(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    run = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy: building leaves files beside the sources."""
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "0, not installed"
    if int(re.match(r"\d+", found)[0]) < OLDEST_SETUPTOOLS:  # type: ignore[index]
        pytest.skip(f"setuptools is {found}: building without a download takes {OLDEST_SETUPTOOLS} or later")
    folder = tmp_path_factory.mktemp("wheel")
    project = folder / "project"
    project.mkdir()
    built_before = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=built_before)
        else:
            shutil.copy(ROOT / name, project)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-index")
    ran(*pip, "--no-build-isolation", "--wheel-dir", folder, project, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with the wheel; what it depends on is this environment's own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet")
    ran(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # The folders of a .pth come last, and a .pth within them, such as that of an editable install, is not read.
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    return python.parent


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder with a table, and a configuration and modules of somebody else's that do not bear being imported."""
    words = [f"word{i}" for i in range(300)]
    rows = np.random.default_rng(0).standard_normal((len(words), 8)).astype(np.float32)
    lines = (" ".join([word, *map(str, row)]) for word, row in zip(words, rows, strict=True))
    (tmp_path / "glove.6B.50d.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("hydra: {run: {dir: elsewhere}}\nbudget: 1\n", encoding="utf-8")
    for name in STRANGERS:
        (tmp_path / name).write_text(f"raise RuntimeError('{name} of somebody else was imported')\n", encoding="utf-8")
    return tmp_path


def alone() -> dict[str, str]:
    """This process's environment without what would lead to the checkout or to a tracking store."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW_"))}


def test_the_wheel_holds_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert {name.partition("/")[0] for name in names} == {"eigenselect", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}
    packed = {name.removeprefix("eigenselect/") for name in names if name.startswith("eigenselect/")}
    endings = (".py", ".yaml", ".cc", ".cu", ".h")
    for room in ("compressors", "conf", "export", "selector"):
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*") if path.suffix in endings}
        assert sources == {name for name in packed if name.startswith(f"{room}/") and name.endswith(endings)}
    assert "py.typed" in packed


@pytest.mark.slow
def test_the_main_job_among_strangers(environment: Path, strange: Path) -> None:
    assert "path: ???" in ran(environment / "eigenselect", "--cfg", "job", cwd=strange, env=alone())
    given = ["table.path=glove.6B.50d.txt", "budget=50%", "out=o", "candidates.bits=[4]", "candidates.rates=[2]"]
    # Started like this, Python looks into the working folder first.
    printed = ran(environment / "python", "-m", "eigenselect", *given, cwd=strange, env=alone())
    assert "Files: o" in printed and (strange / "o" / "model.onnx").is_file() and not (strange / "elsewhere").exists()


def test_the_library_among_strangers(environment: Path, strange: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[-1]
    (strange / "example.py").write_text(f"{example}\nprint(es.__file__)\n", encoding="utf-8")
    printed = ran(environment / "python", "example.py", cwd=strange, env=alone()).splitlines()
    assert (strange / "glove.onnx").is_file()
    assert Path(printed[-1]).is_relative_to(environment.parent), "the wheel's, and not the checkout's"
