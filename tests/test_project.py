"""What the project says of itself: pins, configuration files, the README's code."""

from __future__ import annotations

import re
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra.utils import instantiate

from eigenselect import compressors
from eigenselect.compressors import DCCL, PCA, Compressor, EmbeddingTable, ExactRows, Given, Uniform
from eigenselect.export import save, to_onnx

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[1]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)


def test_mlflow_environment_is_the_pinned_direct_dependencies() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.match(r"[\w-]+", dependency)[0] for dependency in declared]  # type: ignore[index]
    pins = {name.lower().replace("_", "-"): pin for name, pin in PINS.items()}
    environment = yaml.safe_load((ROOT / "python_env.yaml").read_text())
    assert environment["dependencies"] == [f"{name}=={pins[name]}" for name in names]


def test_torch_is_pinned_to_the_cpu_build() -> None:
    assert PINS["torch"] == "2.13.0"
    assert not [name for name in PINS if name.startswith(("nvidia", "triton", "cuda"))]


REQUIRED: dict[type[Compressor], dict[str, Any]] = {
    DCCL: {"bits": 1},
    PCA: {"rate": 2},
    ExactRows: {"rows": [0]},
    Given: {"label": "small", "table": {"path": "small.npy", "tokens": "small.txt"}},
}
"""What a method cannot do without, where its file has no default."""


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "compressor").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_compressor_file_builds_a_method_and_names_all_its_settings(
    path: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("small.npy", np.ones((3, 2), np.float32))
    Path("small.txt").write_text("a\nb\nc\n")
    settings = yaml.safe_load(path.read_text())
    method = getattr(compressors, settings["_target_"].removeprefix("eigenselect.compressors."))
    assert {*settings} - {"_target_"} == {*method.__dataclass_fields__}
    assert isinstance(instantiate(settings, _convert_="all", **REQUIRED.get(method, {})), Compressor)


def test_a_given_table_is_read_with_the_settings_of_any_table() -> None:
    given = yaml.safe_load((ROOT / "conf" / "compressor" / "given.yaml").read_text())
    assert given["table"].pop("_target_") == "eigenselect.selector.sources.read_table"
    assert given["table"] == yaml.safe_load((ROOT / "conf" / "table" / "file.yaml").read_text())


def test_every_method_has_a_file() -> None:
    exported = [getattr(compressors, name) for name in compressors.__all__]
    methods = [made for made in exported if isinstance(made, type) and issubclass(made, Compressor)]
    files = (ROOT / "conf" / "compressor").glob("*.yaml")
    targets = {yaml.safe_load(path.read_text())["_target_"] for path in files}
    assert targets == {f"eigenselect.compressors.{method.__name__}" for method in methods if method is not Compressor}


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["the", "king", *(f"word{i}" for i in range(200))]
    vectors = np.random.default_rng(0).standard_normal((len(words), 50)).astype(np.float32)
    lines = (" ".join([word, *map(repr, row.tolist())]) for word, row in zip(words, vectors, strict=True))
    Path("glove.6B.50d.txt").write_text("\n".join(lines), encoding="utf-8")
    payload = Uniform(4).compress(EmbeddingTable(vectors), np.random.default_rng(0))
    Path("out/demo").mkdir(parents=True)
    save(to_onnx(payload), Path("out/demo/model.onnx"))
    Path("out/demo/tokens.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")

    look_up, library = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # three lines leave the file to the interpreter to close
        exec(look_up)
    printed = np.array(capsys.readouterr().out.strip(" []\n").split(), dtype=np.float32)
    assert np.allclose(printed, payload.read(slice(1, 2))[0], atol=1e-6)
    exec(library)
    nbytes, eos = capsys.readouterr().out.split()
    assert int(nbytes) == payload.nbytes and 0.9 < float(eos) < 1
    assert Path("glove.onnx").stat().st_size < payload.nbytes + (16 << 10)


OLD_WORDS = re.compile(
    r"\b(told|reckon(s|ed)?|foretells?|foretold|mend(s|ed)?|anew|is no (file|folder|table|list|number|name))\b"
)
"""What plain English has a field's term for: reported, computed, predicts, fixed, again, is not a."""


def test_documents_use_the_terms_of_the_field() -> None:
    documents = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("conf/**/*.yaml"),
    ]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in documents
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if OLD_WORDS.search(line)
    ]
    assert found == []
