"""A kind of payload that is not ours: it works everywhere ours do, and is never taken for another."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from eigenselect.compressors import Payload, load
from eigenselect.compressors.payloads import base
from eigenselect.compressors.payloads.bitpack import pack
from eigenselect.compressors.payloads.composed import Replaced, Stacked
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.ops import VERBS, NumpyOps, Ops, V
from eigenselect.export import CompressedEmbedding, to_onnx, torch_to_onnx
from tests.decoding import Example, check_chunks, check_everywhere, check_stored


@dataclass(frozen=True)
class Signs(Payload):
    """Signs of a row, a bit each, times the row's size, minus what is subtracted from every row."""

    packed: np.ndarray
    size: Payload
    less: tuple[np.ndarray, ...]
    dim: int
    note: str | None = None

    @property
    def n(self) -> int:
        return len(self.packed)

    @property
    def k(self) -> int:
        return self.dim

    def decode(self, rows: V, ops: Ops[V]) -> V:
        lut = np.where(np.arange(256)[:, None] >> np.arange(8) & 1, 1, -1).astype(np.float32)
        packed = ops.param("packed", self.packed)
        signs = ops.dequantize_gather(packed, rows=rows, lut=ops.param("lut", lut), dim=self.dim)
        made = ops.mul(b=self.size.decode(rows, ops.scope("size")), a=signs)
        for i, less in enumerate(self.less):
            made = ops.add(made, ops.param(f"less.{i}", -less))
        return made


TAG = "tests.compressors.test_own_kinds.Signs"


def example() -> Example:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (23, 13), dtype=np.uint8)
    sizes = rng.standard_normal((23, 1)).astype(np.float32)
    less = tuple(rng.standard_normal((2, 13)).astype(np.float32))
    expected = (2 * bits.astype(np.float32) - 1) * sizes - less[0] - less[1]
    return Example(Signs(pack(bits, 1), Dense(sizes), less, 13, "by hand"), expected)


def inside_ours() -> Example:
    """A kind of ours that is made of it."""
    part = example()
    table = np.ones((2, 13), np.float32)
    expected = np.concatenate([part.expected, part.expected])
    expected[[1, 40]] = table
    return Example(Replaced(Stacked((part.payload, part.payload)), np.array([1, 40], np.int32), table), expected)


EXAMPLES = {"alone": example, "inside-ours": inside_ours}

every_example = pytest.mark.parametrize("name", EXAMPLES)


@every_example
def test_it_decodes_alike_everywhere(name: str) -> None:
    check_everywhere(EXAMPLES[name]())


@every_example
def test_it_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    check_stored(EXAMPLES[name](), tmp_path)


@every_example
def test_it_is_read_in_chunks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_chunks(EXAMPLES[name](), monkeypatch)


@every_example
def test_it_is_an_embedding_in_torch_and_from_there_in_onnx(name: str, tmp_path: Path) -> None:
    made = EXAMPLES[name]()
    module = CompressedEmbedding(made.payload).eval()
    ids = np.arange(made.payload.n).reshape(1, -1)
    made.agrees(module(torch.from_numpy(ids)).numpy(), made.expected[ids])
    path = tmp_path / "model.onnx"
    torch_to_onnx(module, (torch.from_numpy(ids),), path, input_names=["ids"])
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    made.agrees(session.run(None, {"ids": ids})[0], made.expected[ids])


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("opset", [13, 18])
def test_it_is_exported_for_every_target(opset: int, target: Any) -> None:
    made = example()
    model = to_onnx(made.payload, opset=opset, target=target)
    assert ("DequantizeGatherU1" if target == "cpu" else "DequantizeGather") in {n.op_type for n in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made.agrees(session.run(None, {"ids": np.arange(23)})[0], made.expected)


def test_its_file_has_its_qualified_name(tmp_path: Path) -> None:
    example().payload.save(tmp_path / "p.safetensors")
    with safe_open(tmp_path / "p.safetensors", framework="numpy") as file:
        spec = json.loads(file.metadata()["payload"])
    assert spec == {"version": 1, "kind": TAG, "size": {"kind": "Dense", "unit": 1.0}, "dim": 13, "note": "by hand"}


def test_a_file_of_a_kind_that_is_not_there_says_what_to_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_package_of_mine").mkdir()
    (tmp_path / "a_package_of_mine" / "kinds.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"version": 1, "kind": "a_package_of_mine.kinds.Half"}
    save_file({"table": np.ones((3, 2), np.float32)}, tmp_path / "p", metadata={"payload": json.dumps(spec)})
    with pytest.raises(
        ValueError,
        match=r"it is of kind 'a_package_of_mine\.kinds\.Half', .*: install its package .*, or import it first",
    ):
        load(tmp_path / "p")
    assert not any(name.startswith("a_package_of_mine") for name in sys.modules)


# --- tags -------------------------------------------------------------------------------------------------------------


def kind(module: str, name: str) -> type[Payload]:
    """A kind defined in that module."""
    members = {"n": 3, "k": 2, "decode": lambda self, rows, ops: rows, "__module__": module, "__qualname__": name}
    return dataclass(frozen=True)(type(name.rpartition(".")[2], (Payload,), members))


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test defines is forgotten after it."""
    monkeypatch.setattr(base, "_TAGGED", dict(base._TAGGED))


@pytest.mark.usefixtures("tags")
@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        ("eigenselect.compressors.more", "Dense", "eigenselect.compressors.payloads.dense.Dense"),
        ("tests.compressors.test_own_kinds.Signs", "Inner", "tests.compressors.test_own_kinds.Signs.Inner"),
    ],
)
def test_two_kinds_under_one_tag_are_refused(module: str, name: str, other: str) -> None:
    if name == "Inner":
        kind("tests.compressors.test_own_kinds", "Signs.Inner")
    with pytest.raises(ValueError, match=re.escape(f"{module}.{name} and {other} are two kinds of payload under one")):
        kind(module, name)
    assert base.kinds()["Dense"] is Dense


@pytest.mark.usefixtures("tags")
def test_a_kind_that_is_defined_again_takes_the_place(tmp_path: Path) -> None:
    first = kind("mine", "Half")()
    second = kind("mine", "Half")()
    second.save(tmp_path / "second")
    assert type(load(tmp_path / "second")) is type(second)
    with pytest.raises(ValueError, match=r"^mine\.Half was defined again after this payload was made"):
        first.save(tmp_path / "first")
    assert not (tmp_path / "first").exists()


@pytest.mark.usefixtures("tags")
def test_a_dataclass_with_slots_is_one_kind(tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True)
    class Slotted(Dense):
        pass

    made = Slotted(np.ones((3, 2), np.float32))
    made.save(tmp_path / "p")
    assert type(load(tmp_path / "p")) is Slotted


@pytest.mark.parametrize(
    ("note", "found"), [([1], "list"), (np.int64(3), "int64"), ({"a": 1}, "dict"), ((), "tuple"), (1j, "complex")]
)
def test_a_field_that_a_file_does_not_hold_is_refused(note: Any, found: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"Signs\.note is a {found}, which a payload file does not hold: it must be"):
        replace(example().payload, note=note).save(tmp_path / "p")  # type: ignore[type-var]
    assert not (tmp_path / "p").exists()


# --- verbs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Odd(Dense):
    """Decodes as it should not."""

    what: str = "another verb"

    def decode(self, rows: Any, ops: Any) -> Any:
        table = ops.param("table", self.table)
        match self.what:
            case "another verb":
                return ops.sub(ops.gather(table, rows), table)
            case "an earlier value":
                found = ops.gather(table, rows)
                ops.add(found, found)
                return found
            case "a stored array":
                return table
            case "computed codewords":
                return ops.add_codewords(ops.gather(table, rows), ops.gather(table, rows), 1)
            case "computed levels":
                lut = ops.gather(table, rows)
                return ops.dequantize_gather(table, lut, rows, 2)


def odd(what: str) -> Odd:
    return Odd(np.ones((3, 2), np.float32), what=what)


def test_the_verbs_are_those_of_every_execution() -> None:
    assert {"scope", "param", "gather", "trellis_gather", "matmul"} < VERBS
    assert all(callable(getattr(NumpyOps, verb)) for verb in VERBS)


def test_torch_takes_the_verbs_and_no_others() -> None:
    with pytest.raises(
        AttributeError, match=r"^'sub' is not a verb of a decode: there are add, add_codewords, columns, cut, "
    ):
        CompressedEmbedding(odd("another verb"))


def test_torch_gives_what_the_decode_returns() -> None:
    np.testing.assert_array_equal(CompressedEmbedding(odd("an earlier value"))(torch.arange(3)), np.ones((3, 2)))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("an earlier value", "Odd.decode does not return what its last verb gives: call no verb after that one"),
        ("a stored array", "Odd.decode does not return what its last verb gives"),
        (
            "computed codewords",
            "a decode looks codes up in a value that it computed: in ONNX it must be stored",
        ),
        ("computed levels", "a decode looks codes up in a value that it computed"),
    ],
)
def test_onnx_refuses_what_is_not_such_a_chain(what: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        to_onnx(odd(what))
