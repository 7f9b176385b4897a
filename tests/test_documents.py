"""The documents: each link leads somewhere, what they say of the code is so. That their code runs: `test_pages.py`."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import math
import re
import shutil
import subprocess
from dataclasses import fields
from functools import cache
from pathlib import Path

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
from tests.cases import CASES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ROOMS = ("compressors", "export", "selector")

MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for what a text computes."""


PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]


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
