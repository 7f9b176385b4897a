"""docs/static.md: its example is run as it stands there, and reaches what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file
from scipy.stats import spearmanr

from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export import StaticModel
from eigenselect.selector.sources import static

DOCUMENT = Path(__file__).parents[1] / "docs" / "static.md"
PAIRS = Path(__file__).resolve().parents[2] / "shared" / "data" / "tasks" / "sts" / "STS-B.train.tsv"

pytestmark = [pytest.mark.slow, pytest.mark.data]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the commands of the document were run in."""
    found = importlib.util.find_spec("wordllama")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the package wordllama: pip install --no-deps wordllama==0.4.0.post1")
    root = tmp_path_factory.mktemp("static")
    (root / "wheel").symlink_to(Path(found.submodule_search_locations[0]).parent)
    (commands,) = re.findall(r"```bash\npip install [^\n]*\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=root,
        env={**os.environ, "PATH": paths, "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db"},
        check=True,
    )
    return root


@pytest.fixture(scope="module")
def pairs() -> list[list[str]]:
    """Scores and two sentences each."""
    if not PAIRS.exists():
        pytest.skip(f"needs {PAIRS.name} in ../shared/data")
    return [line.split("\t") for line in PAIRS.read_text(encoding="utf-8").splitlines()[1:]]


def correlation(model: StaticModel, pairs: list[list[str]]) -> float:
    one, other = (model.encode([pair[at] for pair in pairs], normalize=True) for at in (1, 2))
    return float(spearmanr((one * other).sum(axis=1), [float(pair[0]) for pair in pairs]).statistic)


def test_it_keeps_98_percent_of_the_correlation_with_human_scores(made: Path, pairs: list[list[str]]) -> None:
    given = static.read(made / "wordllama")
    assert given is not None
    before = given.model(Dense(load_file(given.file)[given.tensor]))
    after = StaticModel.load(made / "out" / "static_model")
    assert after.payload.nbytes <= 1_300_000
    assert (made / "out" / "static_model" / "model.safetensors").stat().st_size <= 1_300_000
    assert correlation(after, pairs) >= 0.98 * correlation(before, pairs)


def test_its_models_agree(made: Path, pairs: list[list[str]]) -> None:
    model = StaticModel.load(made / "out" / "static_model")
    session = ort.InferenceSession(made / "out" / "sentences.onnx", providers=["CPUExecutionProvider"])
    texts = [pair[1] for pair in pairs]
    ids, offsets = model.tokenize(texts)
    found = session.run(None, {"ids": ids, "offsets": offsets})[0]
    np.testing.assert_allclose(found, model.encode(texts), rtol=0, atol=1e-6)
    chosen = json.loads((made / "out" / "selection.json").read_text())["chosen"]
    assert chosen["name"] in DOCUMENT.read_text(encoding="utf-8")
