"""The command that puts a payload into a model, on models that other programs wrote."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from eigenselect.compressors import EmbeddingTable, KMeans, Payload, Uniform
from eigenselect.export import embedding_table, rewrite_host
from tests.cases import decode, gaussian
from tests.decisions import decision
from tests.export.hosts import make_host, save_host
from tests.running import command

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MINILM = DATA / "onnx" / "all-MiniLM-L6-v2.int8weights.onnx"

TABLE = gaussian(300, 13)


def compress(table: np.ndarray, bits: int = 4) -> Payload:
    return Uniform(bits).compress(EmbeddingTable(table), np.random.default_rng(0))


def record(folder: Path, payload: Payload, error: float) -> None:
    payload.save(folder / "payload.safetensors")
    measures = {"reconstruction_error_relative": error}
    (folder / "selection.json").write_text(decision(measures).text(), encoding="utf-8")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A host and a hand-over in the folder."""
    save_host(make_host(TABLE), tmp_path / "host.onnx")
    payload = compress(TABLE)
    record(tmp_path, payload, float(np.linalg.norm(decode(payload) - TABLE) / np.linalg.norm(TABLE)))
    return [f"host={tmp_path / 'host.onnx'}", f"payload={tmp_path}", f"out={tmp_path / 'new.onnx'}"]


def test_the_command_in_a_process_of_its_own(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "eigenselect", "export", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == str(tmp_path / "new.onnx")
    assert "verified: the outputs are those of the host with the decoded float table put in" in done.stdout
    onnx.checker.check_model(str(tmp_path / "new.onnx"), full_check=True)


def test_a_payload_file_is_taken_without_a_record(words: list[str], tmp_path: Path) -> None:
    record(tmp_path, compress(TABLE), 0.9)
    assert command("export", *words) == 2
    words[1] = f"payload={tmp_path / 'payload.safetensors'}"
    assert command("export", *words, "target=cpu", "tied=keep") == 0
    np.savez(tmp_path / "in.npz", ids=np.zeros((1, 1), np.int64), types=np.zeros((1, 1), np.int64))
    assert command("export", *words, f"inputs={tmp_path / 'in.npz'}") == 0


BAD = {
    "missing": ([], "required and not given: host=..., payload=..., out=..."),
    "unknown": (["hots=a"], "there is no setting hots: did you mean host?"),
    "target": (["target=tpu"], "target = 'tpu': must be one of"),
    "tied": (["tied=maybe"], "tied = 'maybe': must be refuse or keep"),
    "inputs": (["inputs=nowhere.npz"], "inputs = nowhere.npz cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_words_are_one_line_and_exit_2(
    case: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, expected = BAD[case]
    assert command("export", *(words if more else ()), *more) == 2
    printed, errors = capsys.readouterr()
    assert printed == "" and errors.startswith("error: ") and errors.count("\n") == 1 and expected in errors
    assert not (tmp_path / "new.onnx").exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("selection.json", "{}", "is not a record of a selection"),
        ("selection.json", "no", "is not a record of a selection"),
        ("selection.json", '{"chosen": {"measures": []}}', "is not a record of a selection"),
        ("payload.safetensors", "no", "cannot be read as a payload"),
    ],
)
def test_a_hand_over_that_is_none_is_refused(
    name: str, content: str, expected: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert command("export", *words) == 2 and expected in capsys.readouterr().err


def test_a_payload_of_a_newer_program_is_refused(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eigenselect.compressors.payloads.base.FORMAT_VERSION", 2)
    compress(TABLE).save(tmp_path / "payload.safetensors")
    assert command("export", *words) == 2
    assert "payload format 2, this program reads 1: upgrade eigenselect" in capsys.readouterr().err


def test_exit_codes_of_a_failed_verification_and_of_a_bug(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eigenselect.export.host.proof.RELATIVE_ERROR", -1)
    assert command("export", *words) == 1
    assert "table_error is 0.0, allowed is -1: not written" in capsys.readouterr().err
    monkeypatch.setattr("eigenselect.export.host.host.Host.open", lambda path: 1 / 0)
    assert command("export", *words) == 1 and "ZeroDivisionError" in capsys.readouterr().err


# --- models of other programs -----------------------------------------------------------------------------------------


def exported(model: object, path: Path) -> Path:
    """A torch module as torch.onnx.export writes it."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    ids = torch.zeros((2, 5), dtype=torch.int64)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of what it calls
        torch.onnx.export(model, (ids,), path, dynamo=True, dynamic_shapes=(sizes,), external_data=False, verbose=False)
    return path


def network(head: int):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(500, 24, padding_idx=0)
            self.places = torch.nn.Embedding(64, 24)
            self.norm = torch.nn.LayerNorm(24)
            self.mix = torch.nn.TransformerEncoderLayer(24, 4, 48, dropout=0.0, batch_first=True)
            self.head = torch.nn.Linear(24, head, bias=False)

        def forward(self, ids):
            x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
            return self.head(self.mix(self.norm(x)))

    return Network().eval()


@pytest.mark.usefixtures("no_processes")
def test_a_model_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = network(7)
    path = exported(model, tmp_path / "host.onnx")
    table = embedding_table(path)
    np.testing.assert_array_equal(table, model.words.weight.detach().numpy())
    payload = compress(table)
    report = rewrite_host(path, payload, tmp_path / "new.onnx")
    assert report.removed_bytes == 500 * 24 * 4 and report.proof.relative_error <= 1e-6
    with torch.no_grad():
        model.words.weight.copy_(torch.from_numpy(decode(payload)))
        ids = torch.arange(30).reshape(2, 15)
        expected = model(ids).numpy()
    (got,) = ort.InferenceSession(tmp_path / "new.onnx").run(None, {"ids": ids.numpy()})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_an_embedding_bag_of_torch(mode: str, dynamo: bool, tmp_path: Path) -> None:
    """One exporter writes a loop over slices of ids, the other one over slices of rows."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    bag = torch.nn.EmbeddingBag(500, 24, mode=mode).eval()
    given = (torch.arange(10) * 7, torch.tensor([0, 4, 7]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of what it calls
        names = {} if dynamo else {"input_names": ["ids", "offsets"]}
        torch.onnx.export(bag, given, tmp_path / "host.onnx", dynamo=dynamo, verbose=False, **names)
    payload = compress(embedding_table(tmp_path / "host.onnx"))
    assert rewrite_host(tmp_path / "host.onnx", payload, tmp_path / "new.onnx").removed_bytes == 500 * 24 * 4
    session = ort.InferenceSession(tmp_path / "new.onnx")
    feeds = {value.name: each.numpy() for value, each in zip(session.get_inputs(), given, strict=True)}
    with torch.no_grad():
        bag.weight.copy_(torch.from_numpy(decode(payload)))
        np.testing.assert_allclose(session.run(None, feeds)[0], bag(*given).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("no_processes")
@pytest.mark.slow
def test_a_tied_model_of_torch(tmp_path: Path) -> None:
    model = network(500)
    model.head.weight = model.words.weight
    path = exported(model, tmp_path / "host.onnx")
    payload = compress(model.words.weight.detach().numpy())
    with pytest.raises(ValueError, match=r"is used by (Transpose|MatMul) .* too \(a tied output head\?\)"):
        rewrite_host(path, payload, tmp_path / "new.onnx")
    assert rewrite_host(path, payload, tmp_path / "new.onnx", tied="keep").removed_bytes == 0


@pytest.mark.usefixtures("no_processes")
def test_a_model_of_the_dynamic_quantizer(tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    path = exported(network(7), tmp_path / "float.onnx")
    for per_channel in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization.quantize_dynamic(path, tmp_path / "host.onnx", per_channel=per_channel)
        table = embedding_table(tmp_path / "host.onnx")
        assert table.shape == (500, 24) and len(np.unique(table)) <= 256
        payload = KMeans(3).compress(EmbeddingTable(table), np.random.default_rng(0))
        report = rewrite_host(tmp_path / "host.onnx", payload, tmp_path / "new.onnx")
        assert report.removed_bytes >= 500 * 24 and report.proof.relative_error <= 1e-6


@pytest.mark.data
@pytest.mark.slow
def test_minilm_with_integer_weights(tmp_path: Path) -> None:
    if not MINILM.exists():
        pytest.skip("the MiniLM model is not in ../shared/data")
    table = embedding_table(MINILM)
    assert table.shape == (30522, 384) and table.dtype == np.float32
    model = onnx.load(MINILM)
    parts = {t.name.rpartition("_")[2]: numpy_helper.to_array(t) for t in model.graph.initializer if "word_" in t.name}
    np.testing.assert_array_equal(table, parts["q"].astype(np.float32) * parts["scale"])
    payload = compress(table)
    report = rewrite_host(MINILM, payload, tmp_path / "new.onnx")
    assert report.opset == 17 and report.removed_bytes == table.size + 4 * len(table)
    assert report.host_bytes - report.removed_bytes < report.file_bytes
    assert report.file_bytes <= report.host_bytes - report.removed_bytes + payload.nbytes + (16 << 10)
    # The same graph with the decoded table in place of the stored one, made by hand.
    inner = "inner.embeddings.word_embeddings.weight"
    nodes = [node for node in model.graph.node if not {inner, f"{inner}_f"} & {*node.output}]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in (f"{inner}_q", f"{inner}_scale")]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, numpy_helper.from_array(decode(payload), inner)])
    rng = np.random.default_rng(2)
    ones = np.ones((3, 9), np.int64)
    given = {"input_ids": rng.integers(0, 30522, (3, 9)), "attention_mask": ones, "token_type_ids": 0 * ones}
    got, expected = (
        ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, given)[0]
        for source in (tmp_path / "new.onnx", model.SerializeToString())
    )
    assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.data
def test_the_float_table_of_minilm_is_that_of_the_integer_model(tmp_path: Path) -> None:
    """Made of the float16 file, put into the model that holds it in int8: the recorded error is found again."""
    from eigenselect.selector.sources import read_table

    source = DATA / "embeddings" / "minilm_l6_wordpiece_384d.fp16.safetensors"
    if not (source.exists() and MINILM.exists()):
        pytest.skip("the MiniLM table and model are not in ../shared/data")
    vectors = read_table(source).vectors
    payload = compress(vectors)
    wide = vectors.astype(np.float64)
    record(tmp_path, payload, float(np.linalg.norm(decode(payload) - wide) / np.linalg.norm(wide)))
    assert command("export", f"host={MINILM}", f"payload={tmp_path}", f"out={tmp_path / 'new.onnx'}") == 0
