"""Tables of a model: found in every form that they are stored in, with all that uses them, and read by rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from eigenselect.export import embedding_table
from eigenselect.export.models.ids import graph_input
from eigenselect.export.models.scopes import Model
from eigenselect.export.models.stored import array
from eigenselect.export.models.tables import HostTable, find_tables
from tests.cases import gaussian
from tests.export.hosts import FORMS, entries, make_host, save_host, stored

TABLE = gaussian(40, 6)
NODE = helper.make_node


def tables_of(model: onnx.ModelProto, folder: Path = Path()) -> list[HostTable]:
    return find_tables(Model(model), folder)


def the_table(model: onnx.ModelProto, folder: Path = Path()) -> HostTable:
    (found,) = (t for t in tables_of(model, folder) if t.n == len(TABLE) and "other" not in t.name)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_found_and_read_in_every_form(form: str, tmp_path: Path) -> None:
    path = save_host(make_host(TABLE, form), tmp_path / "host.onnx", external=form == "external")
    table = the_table(onnx.load(path, load_external_data=False), tmp_path)
    expected = entries(form, TABLE)
    assert (table.n, table.d, table.others) == (40, 6, [])
    assert table.type == (TensorProto.FLOAT16 if form == "half" else TensorProto.FLOAT)
    assert len(table.places) == (2 if form in ("twice", "if") else 1)
    for rows in (slice(0, 40), slice(7, 9), np.array([39, 0, 0, 5])):
        np.testing.assert_array_equal(table.read(rows).astype(np.float32), expected[rows], strict=True)
    read = embedding_table(path, table.name)
    np.testing.assert_array_equal(read.astype(np.float32), expected)
    assert read.dtype == (np.float16 if form == "half" else np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_traced_to_the_input(form: str) -> None:
    place = the_table(make_host(TABLE, form)).places[0]
    assert graph_input(place.scope, place.ids) == "ids"


def test_ids_that_are_computed_have_no_input() -> None:
    places = the_table(make_host(TABLE, "twice")).places
    assert [graph_input(place.scope, place.ids) for place in places] == ["ids", None]


TIED = {
    "transposed head": ([NODE("Transpose", ["table"], ["t"], perm=[1, 0]), NODE("MatMul", ["x", "t"], ["h"])], "h"),
    "gemm": ([NODE("Reshape", ["x", "two"], ["f"]), NODE("Gemm", ["f", "table"], ["h"], transB=1, name="head")], "h"),
    "other lookup": ([NODE("Gather", ["table", "ids"], ["h"], axis=1)], "h"),
    "output": ([], "table"),
}


@pytest.mark.parametrize(
    ("case", "reported"),
    [
        ("transposed head", "Transpose 't'"),
        ("gemm", "Gemm 'head'"),
        ("other lookup", "Gather 'h'"),
        ("output", "the output 'table'"),
    ],
)
def test_what_else_uses_a_table_is_told(case: str, reported: str) -> None:
    nodes, output = TIED[case]
    assert the_table(make_host(TABLE, extra=nodes, outputs=[output])).others == [reported]


def test_a_use_of_what_the_chain_makes_is_one_of_the_table() -> None:
    nodes = [NODE("Transpose", ["table"], ["t"]), NODE("MatMul", ["x", "t"], ["h"])]
    assert the_table(make_host(TABLE, "int8", extra=nodes, outputs=["h"])).others == ["Transpose 't'"]
    nodes = [NODE("MatMul", ["x", "stored"], ["h"])]
    assert the_table(make_host(TABLE, "transposed", extra=nodes, outputs=["h"])).others == ["MatMul 'h'"]


def test_a_shared_scale_is_no_use_of_the_table() -> None:
    nodes = [NODE("Mul", ["typed", "scale"], ["h"])]
    assert the_table(make_host(TABLE, "whole", extra=nodes, outputs=["h"])).others == []


def test_chains_of_their_own_lead_to_one_table() -> None:
    model = make_host(TABLE, "widened")
    model.graph.node.insert(0, NODE("Cast", ["stored"], ["again"], to=TensorProto.FLOAT))
    model.graph.node.append(NODE("Gather", ["again", "types"], ["w"]))
    table = the_table(model)
    assert [place.given for place in table.places] == ["rows", "w"]
    assert {name for _, name in table.parts} == {"stored", "table", "again"} and table.others == []


NO_TABLES: dict[str, list[NodeProto]] = {
    "computed": [NODE("Exp", ["table"], ["c"]), NODE("Gather", ["c", "ids"], ["h"])],
    "of integers": [NODE("Cast", ["table"], ["c"], to=TensorProto.INT64), NODE("Gather", ["c", "ids"], ["h"])],
    "a shape": [NODE("Shape", ["ids"], ["c"]), NODE("Gather", ["c", "one"], ["h"])],
    "of another domain": [NODE("Gather", ["table", "ids"], ["h"], domain="com.microsoft")],
    "by columns": [NODE("Gather", ["table", "ids"], ["h"], axis=1)],
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_what_is_no_table_is_not_taken_for_one(case: str) -> None:
    model = make_host(TABLE, extra=NO_TABLES[case])
    assert [t.name for t in tables_of(model)] == ["table", "types.weight"]


def test_integer_rows_that_are_not_dequantized_are_no_table() -> None:
    model = make_host(TABLE, "quantizer", extra=[NODE("MatMulInteger", ["codes", "codes"], ["h"])])
    assert [t.name for t in tables_of(model)] == ["types.weight"]


def test_rows_dequantized_by_columns_are_no_table() -> None:
    """An axis of the rows is another one of the table."""
    model = make_host(TABLE, "quantizer")
    for name, array_ in (("scale", np.full(6, 0.5, np.float32)), ("zero", np.zeros(6, np.uint8))):
        next(t for t in model.graph.initializer if t.name == name).CopyFrom(stored(array_, name))
    model.graph.node[1].attribute.append(helper.make_attribute("axis", 2))
    assert [t.name for t in tables_of(model)] == ["types.weight"]


@pytest.mark.parametrize("op", ["Where", "Concat"])
def test_ids_are_traced_through_a_choice(op: str) -> None:
    model = make_host(TABLE)
    model.graph.node[0].input[1] = "chosen"
    given = ["which", "none", "ids"] if op == "Where" else ["none", "ids"]
    model.graph.node.insert(0, NODE(op, given, ["chosen"], **({} if op == "Where" else {"axis": 0})))
    model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
    model.graph.initializer.append(stored(np.zeros((1, 1), np.int64), "none"))
    place = the_table(model).places[0]
    assert graph_input(place.scope, place.ids) == "ids"


def test_external_data_are_mapped_and_not_loaded(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    (tensor,) = (t for t in model.graph.initializer if t.name == "table")
    mapped = array(tensor, tmp_path)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, TABLE)
    assert isinstance(embedding_table(path), np.memmap)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.unlink(), "is missing|doesn't exist|not valid"),
        (lambda file: file.write_bytes(file.read_bytes()[:-8]), "ends at"),
    ],
)
def test_a_broken_data_file_is_refused(change, message: str, tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    change(tmp_path / "host.onnx.weights")
    with pytest.raises(ValueError, match=message):
        [array(tensor, tmp_path) for tensor in model.graph.initializer]


def test_a_data_file_elsewhere_is_not_opened(tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "in" / "host.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    (tmp_path / "secret").write_bytes((tmp_path / "in" / "host.onnx.weights").read_bytes())
    tensor = next(t for t in model.graph.initializer if t.name == "table")
    tensor.external_data[0].value = "../secret"
    with pytest.raises(ValueError, match=r"outside of its folder: move it in$"):
        array(tensor, tmp_path / "in")


def test_links_are_followed_within_the_cache_of_the_hub_alone(tmp_path: Path) -> None:
    blobs, revision = tmp_path / "models--x--y" / "blobs", tmp_path / "models--x--y" / "snapshots" / "abc" / "onnx"
    revision.mkdir(parents=True)
    save_host(make_host(TABLE), blobs / "model.onnx", external=True)
    for name in ("model.onnx", "model.onnx.weights"):
        (blobs / name).rename(blobs / name[-7:])
        (revision / name).symlink_to(f"../../../blobs/{name[-7:]}")
    np.testing.assert_array_equal(embedding_table(revision / "model.onnx"), TABLE)
    (blobs / "weights").rename(tmp_path / "secret")
    (revision / "model.onnx.weights").unlink()
    (revision / "model.onnx.weights").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"outside of its folder"):
        embedding_table(revision / "model.onnx")


# --- the table to compress --------------------------------------------------------------------------------------------


def test_the_table_of_input_ids_is_taken(tmp_path: Path) -> None:
    np.testing.assert_array_equal(embedding_table(save_host(make_host(TABLE), tmp_path / "a.onnx")), TABLE)


def test_several_tables_are_listed_and_the_largest_is_not_taken(tmp_path: Path) -> None:
    model = make_host(TABLE, extra=[NODE("Gather", ["second", "types"], ["h"])])
    model.graph.initializer.append(stored(TABLE[:7] + 1, "second"))
    path = save_host(model, tmp_path / "a.onnx")
    with pytest.raises(ValueError) as caught:
        embedding_table(path)
    assert str(caught.value) == (
        f"{path}: 2 tables are looked up by ids that are an input: 'table' 40 x 6 float32; 'second' 7 x 6 float32; "
        "name one with table.tensor"
    )
    np.testing.assert_array_equal(embedding_table(path, "second"), TABLE[:7] + 1)
    with pytest.raises(ValueError, match="no embedding tables are named 'weight'; looked up are 'table' 40 x 6"):
        embedding_table(path, "weight")


def test_a_model_without_tables_says_so(tmp_path: Path) -> None:
    model = make_host(TABLE)
    del model.graph.node[:2]
    model.graph.node.insert(0, NODE("Gather", ["types.weight", "ids"], ["rows"]))
    model.graph.node.insert(1, NODE("Gather", ["types.weight", "types"], ["typed"]))
    path = save_host(model, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"no tables are looked up by ids that are an input; name one with table\.ten"):
        embedding_table(path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x08\x12\x07pytorch" + bytes(50))
    with pytest.raises(ValueError, match=r"a\.onnx is not a valid ONNX model \(.*\): fetch or export it again$"):
        embedding_table(tmp_path / "a.onnx")


@pytest.mark.parametrize("of", ["input", "output"])
def test_an_element_type_that_there_is_not_is_refused(of: str, tmp_path: Path) -> None:
    """The checker takes any number."""
    model = make_host(TABLE)
    getattr(model.graph, of)[0].type.tensor_type.elem_type = 129
    path = save_host(model, tmp_path / "a.onnx")
    name = getattr(model.graph, of)[0].name
    with pytest.raises(
        ValueError, match=rf"a\.onnx is not a valid .* \({name} has the element type 129, which ONNX has"
    ):
        embedding_table(path)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """The checker takes them, and they come as bytes."""
    path = save_host(make_host(TABLE), tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes().replace(b"look_types_up", b"look\xfftypes_up"))
    with pytest.raises(
        ValueError, match=r"a\.onnx is not a valid ONNX model \(a name is no UTF-8\): fetch or export it"
    ):
        embedding_table(path)


@pytest.mark.parametrize(("key", "value"), [("offset", "-1"), ("offset", "abc"), ("length", "9" * 30), ("length", "7")])
def test_a_place_in_a_data_file_is_checked_first(key: str, value: str, tmp_path: Path) -> None:
    path = save_host(make_host(TABLE), tmp_path / "host.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    next(entry for entry in table.external_data if entry.key == key).value = value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"host\.onnx.*: .*") as caught:
        embedding_table(path)
    assert len(str(caught.value)) < 300 + len(str(tmp_path)) and "\n" not in str(caught.value)


def test_typed_fields_are_read_as_well_as_raw_bytes(tmp_path: Path) -> None:
    model = make_host(TABLE)
    tensor = next(t for t in model.graph.initializer if t.name == "table")
    tensor.CopyFrom(helper.make_tensor("table", TensorProto.FLOAT, TABLE.shape, TABLE.ravel().tolist()))
    assert not tensor.raw_data and numpy_helper.to_array(tensor).shape == TABLE.shape
    np.testing.assert_array_equal(embedding_table(save_host(model, tmp_path / "a.onnx")), TABLE)
