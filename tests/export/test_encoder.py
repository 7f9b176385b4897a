"""Models whose table is given with each run, against the same models with that table stored."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from eigenselect.export import Encoder, embedding_table
from tests.export.hosts import FORMS, entries, make_host, save_host

MINILM = Path(__file__).resolve().parents[3] / "shared/data/onnx/all-MiniLM-L6-v2.int8weights.onnx"
N, D, LONGEST = 23, 6, 9
IDS = np.array([[0, 3, 22, 3, 7], [1, 1, 9, 21, 5]])


def gaussian(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, D)).astype(np.float32)


def expected(path: Path, ids: np.ndarray = IDS) -> np.ndarray:
    """What a stored model gives."""
    session = ort.InferenceSession(path)
    feeds = {value.name: (ids if "ids" in value.name else 0 * ids) for value in session.get_inputs()}
    types = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}
    (found,) = session.run(["y"], {v.name: feeds[v.name].astype(types[v.type]) for v in session.get_inputs()})
    return found


@pytest.mark.parametrize("form", [form for form in FORMS if form != "inner"])  # that has two tables
@pytest.mark.parametrize("ids", [TensorProto.INT64, TensorProto.INT32])
def test_every_form_of_table_is_replaced(form: str, ids: int, tmp_path: Path) -> None:
    table, other = gaussian(0), gaussian(1)
    path = save_host(make_host(table, form, ids=ids), tmp_path / "host.onnx", external=form == "external")
    encoder = Encoder.open(path, LONGEST)
    assert encoder.table.dtype == np.float32 and np.allclose(encoder.table, entries(form, table), atol=1e-7)
    assert np.abs(encoder.states(encoder.table, IDS) - expected(path)).max() <= 1e-6
    assert encoder.files == [path, *([tmp_path / "host.onnx.weights"] if form == "external" else [])]

    # Rows that are given are those of a model that stores them: float16 ones in a model of such, else float32.
    stored = form if form in ("half", "twice") else "plain"
    theirs = save_host(make_host(other, stored, ids=ids), tmp_path / "other" / "host.onnx")
    assert np.abs(encoder.states(other, IDS) - expected(theirs)).max() <= 1e-6
    assert np.abs(encoder.states(encoder.table, IDS) - expected(path)).max() <= 1e-6, "nothing stays of another run"


@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16])
def test_rows_are_of_the_hosts_type(dtype: type, tmp_path: Path) -> None:
    model, table = make_host(gaussian(0), "half"), gaussian(0).astype(dtype)
    (stored,) = (tensor for tensor in model.graph.initializer if tensor.name == "table")
    stored.CopyFrom(numpy_helper.from_array(table, "table"))
    path = save_host(model, tmp_path / "host.onnx")
    encoder = Encoder.open(path, LONGEST)
    assert np.array_equal(encoder.table, table.astype(np.float32))
    assert np.abs(encoder.states(encoder.table, IDS) - expected(path)).max() <= 1e-6
    rounded = gaussian(1).astype(dtype).astype(np.float32)
    assert np.array_equal(encoder.states(gaussian(1), IDS), encoder.states(rounded, IDS))


def with_mask(model: onnx.ModelProto) -> onnx.ModelProto:
    """`attention_mask (batch, sequence)`, which the states are multiplied by."""
    model.graph.input.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "sequence"]))
    model.graph.node[-1].output[0] = "all"
    cast = helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT)
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[2])
    last = helper.make_node("Unsqueeze", ["m", "axis"], ["m3"])
    model.graph.node.extend([cast, axis, last, helper.make_node("Mul", ["all", "m3"], ["y"])])
    return model


def test_all_is_attended_to(tmp_path: Path) -> None:
    plain = save_host(make_host(gaussian(0)), tmp_path / "plain.onnx")
    masked = save_host(with_mask(make_host(gaussian(0))), tmp_path / "masked.onnx")
    encoder = Encoder.open(masked, LONGEST)
    assert np.array_equal(encoder.states(encoder.table, IDS), expected(plain))


def test_the_states_are_the_first_output_of_three_dimensions(tmp_path: Path) -> None:
    node = helper.make_node
    extra = [node("ReduceMean", ["y"], ["pooled"], axes=[2], keepdims=0), node("Neg", ["y"], ["more"])]
    model = make_host(gaussian(0), extra=extra)
    info = helper.make_tensor_value_info
    first, last = info("pooled", TensorProto.FLOAT, [None] * 2), info("more", TensorProto.FLOAT, [None] * 3)
    outputs = [first, *model.graph.output, last]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    path = save_host(model, tmp_path / "host.onnx")
    encoder = Encoder.open(path, LONGEST)
    assert np.array_equal(encoder.states(encoder.table, IDS), expected(path))


def tied() -> onnx.ModelProto:
    node = helper.make_node
    extra = [node("Transpose", ["table"], ["head"], name="turn"), node("MatMul", ["x", "head"], ["logits"])]
    return make_host(gaussian(0), extra=extra, outputs=["logits"])


def other_input(name: str, dtype: int) -> onnx.ModelProto:
    model = make_host(gaussian(0))
    model.graph.input.append(helper.make_tensor_value_info(name, dtype, ["batch", "sequence"]))
    return model


def pooled() -> onnx.ModelProto:
    model = make_host(gaussian(0), extra=[helper.make_node("ReduceMean", ["y"], ["p"], axes=[1], keepdims=0)])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("p", TensorProto.FLOAT, [None] * 2))
    return model


def short() -> onnx.ModelProto:
    model = make_host(gaussian(0))
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[1].dim_value = LONGEST - 1
    return model


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (tied(), r"'table' 23 x 6 float32 is used by Transpose 'turn' too \(a tied output head\?\).*without it"),
        (other_input("position_ids", TensorProto.INT64), r"has the input 'position_ids': only token ids, an attention"),
        (other_input("mask", TensorProto.FLOAT), r"has the input 'mask': .* of int64 or int32 can be given"),
        (pooled(), r"gives p \[2, 5\] on 2 texts of 9 tokens: an output \(batch, sequence, h\) is needed"),
        (short(), r"does not run on 2 texts of 9 tokens \(.*export it with free batch and sequence, and at least 9"),
        (
            make_host(gaussian(0), "inner"),
            r"host.onnx: 2 tables are looked up by ids that are an input: 'other' 23 x 6 float32; 'table' 23",
        ),
        (make_host(gaussian(0)[:5]), r"host.onnx: no tables are looked up by ids that are an input"),
    ],
)
def test_what_cannot_be_used_is_said(model: onnx.ModelProto, answer: str, tmp_path: Path) -> None:
    path = save_host(model, tmp_path / "host.onnx")
    with pytest.raises(ValueError, match=answer) as refusal:
        Encoder.open(path, LONGEST)
    assert "\n" not in str(refusal.value)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file"):
        Encoder.open(tmp_path / "host.onnx", LONGEST)
    (tmp_path / "host.onnx").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"is not a valid ONNX model"):
        Encoder.open(tmp_path / "host.onnx", LONGEST)


@pytest.mark.data
def test_minilm_with_its_own_table_is_minilm() -> None:
    if not MINILM.exists():
        pytest.skip(f"{MINILM} is not here")
    encoder = Encoder.open(MINILM, 128)
    assert np.array_equal(encoder.table, embedding_table(MINILM))
    ids = np.random.default_rng(0).integers(0, len(encoder.table), (3, 17))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (theirs,) = ort.InferenceSession(MINILM).run(None, feeds)
    assert np.abs(encoder.states(encoder.table, ids) - theirs).max() <= 1e-6
    assert np.abs(encoder.states(encoder.table[::-1].copy(), ids) - theirs).max() > 0.1
