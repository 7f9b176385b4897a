"""What cannot be rewritten is refused, and what a host is run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from eigenselect.compressors import PCA, EmbeddingTable
from eigenselect.export import rewrite_host
from eigenselect.export.models.scopes import Model
from eigenselect.export.models.sessions import made_inputs
from eigenselect.export.models.tables import rows_by_input
from tests.export.hosts import make_host, save_host, stored
from tests.export.rewritten import NODE, TABLE, N, feeds, refused, run, uniform

pytestmark = pytest.mark.usefixtures("no_processes")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "host.onnx").write_bytes(b"no model at all")
    refused(tmp_path / "host.onnx", uniform(), r"host\.onnx is not a valid ONNX model \(")
    model = make_host(TABLE)
    del model.graph.node[1]
    refused(save_host(model, tmp_path / "host.onnx"), uniform(), r"is not a valid ONNX model \(.*'typed'")
    with pytest.raises(ValueError, match=r"^.*nowhere\.onnx: no such file: correct the path$"):
        rewrite_host(tmp_path / "nowhere.onnx", uniform(), tmp_path / "new.onnx")


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    refused(path, uniform(), r"^target = 'abacus': must be one of portable, cpu, cuda$", target="abacus")
    refused(path, uniform(), r"^tied = 'yes': must be refuse or keep$", tied="yes")
    refused(path, uniform(), r"there is no folder .*nowhere: make it first", out="nowhere/new.onnx")
    refused(path, uniform(), r"would overwrite .*host\.onnx of the host: give another name", out="host.onnx")
    (tmp_path / "there").mkdir()
    refused(path, uniform(), r"there is a folder: name a file", out="there")
    own = PCA(dim=5).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    refused(path, own, "the payload decodes to coordinates of its own")


def test_a_data_file_of_the_host_is_not_overwritten(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    (tmp_path / "host.onnx.weights").rename(tmp_path / "new.onnx.data")
    path.write_bytes(path.read_bytes().replace(b"host.onnx.weights", b"new.onnx.data\0\0\0\0"))
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.external_data:
            tensor.external_data[0].value = "new.onnx.data"
    path.write_bytes(model.SerializeToString())
    refused(path, uniform(), r"would overwrite .*new\.onnx\.data of the host")


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE, opset=12), tmp_path / "host.onnx")
    refused(path, uniform(), r"has opset 12: must be at least 13; onnx\.version_converter raises it")


# --- inputs -----------------------------------------------------------------------------------------------------------


def unfit(path: Path) -> Path:
    """A host that does not run on made inputs: it looks a table of two rows up by a sum of ids."""
    model = make_host(TABLE, extra=[NODE("Add", ["types", "types"], ["s"]), NODE("Gather", ["weight", "far"], ["h"])])
    model.graph.input.append(helper.make_tensor_value_info("far", TensorProto.INT32, ["k"]))
    model.graph.node.insert(0, NODE("Sub", ["far", "thousand"], ["below"]))
    model.graph.node[-1].input[1] = "below"
    model.graph.initializer.append(stored(np.array(1000, np.int32), "thousand"))
    return save_host(model, path)


def test_a_host_that_needs_inputs_asks_for_them(tmp_path: Path) -> None:
    path = unfit(tmp_path / "host.onnx")
    cure = (
        r"give inputs=FILE\.npz, written by numpy\.savez, with ids int64 \[batch, sequence\]; types int64 \[batch, "
        r"sequence\]; far int32 \[k\]"
    )
    refused(path, uniform(), rf"does not run on made inputs \(.*\): {cure}$")
    given = {**feeds(), "far": np.array([1000, 1001], np.int32)}
    np.savez(tmp_path / "in.npz", **given)
    report = rewrite_host(path, uniform(), tmp_path / "new.onnx", inputs=tmp_path / "in.npz")
    assert report.inputs == str(tmp_path / "in.npz")
    # What is reported of the outputs, computed again.
    before, after = (run(file, given).astype(np.float64) for file in (path, tmp_path / "new.onnx"))
    (reported,) = report.outputs
    assert reported.name == "y" and reported.max_abs_difference == np.abs(after - before).max() > 0
    cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
    assert reported.cosine == pytest.approx(cosine, abs=1e-12) and cosine < 1
    for bad, message in (
        (given | {"far": np.array([1000])}, "holds 'far' as int64"),
        (given | {"more": np.zeros(1)}, r"holds \['far', 'ids', 'more', 'types'\]"),
        ({}, r"holds \[\]"),
        (given | {"far": np.array([{}])}, "cannot be read as .npz"),
        (given | {"far": np.array([5], np.int32)}, "does not run on those of"),
    ):
        np.savez(tmp_path / "in.npz", **bad)
        refused(path, uniform(), message, inputs=tmp_path / "in.npz")
    (tmp_path / "in.npz").write_bytes(b"no")
    refused(path, uniform(), r"cannot be read as \.npz .*give inputs=FILE\.npz", inputs=tmp_path / "in.npz")


def test_made_inputs_are_valid_and_fit_together() -> None:
    model = make_host(TABLE, ids=TensorProto.INT32)
    info = helper.make_tensor_value_info
    model.graph.input.extend(
        [
            info("attention_mask", TensorProto.INT64, ["batch", "past + sequence"]),
            info("state", TensorProto.FLOAT16, ["batch", 3, "past", 4]),
            info("flag", TensorProto.BOOL, []),
            info("turned", TensorProto.FLOAT, ["sequence", "batch"]),
            info("free", TensorProto.FLOAT, [None, None]),
        ]
    )
    made = made_inputs(model, rows_by_input(Model(model), Path()), np.random.default_rng(0))
    batch, sequence = made["ids"].shape
    assert made["ids"].dtype == np.int32 and {0, N - 1} <= {*made["ids"].ravel()} and made["ids"].max() < N
    assert made["types"].shape == made["ids"].shape and made["types"].max() == 1
    past = made["state"].shape[2]
    assert made["state"].shape == (batch, 3, past, 4) and made["state"].dtype == np.float16
    assert made["attention_mask"].shape == (batch, past + sequence) and (made["attention_mask"] == 1).all()
    assert made["flag"].shape == () and not made["flag"] and made["free"].shape == (batch, sequence)
    assert made["state"].std() > 0.5 and made["turned"].shape == (sequence, batch)
