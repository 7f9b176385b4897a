"""A payload's matrix multiplied into the constant that rows meet: the outputs stay, the bytes of the matrix go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from eigenselect.compressors import PCA, EmbeddingTable, ExactRows, KMeans, Payload, Spectral
from eigenselect.export import Kept, VerificationError, rewrite_host
from eigenselect.export.host.products import Product
from tests.cases import decode
from tests.export.hosts import make_host, save_host, stored
from tests.export.rewritten import NODE, TABLE, D, N, uniform

pytestmark = pytest.mark.usefixtures("no_processes")

H = 5
RNG = np.random.default_rng(5)
BY = RNG.standard_normal((D, H)).astype(np.float32)
SQUARE = RNG.standard_normal((D, D)).astype(np.float32)
IDS = RNG.integers(-N, N, (1, D))


def spectral(table: np.ndarray = TABLE, **settings: object) -> Payload:
    return Spectral(then=KMeans(4), **settings).compress(EmbeddingTable(table), np.random.default_rng(0))


PAYLOAD = spectral()


def host(nodes: list[NodeProto], more: dict[str, np.ndarray], table: np.ndarray = TABLE) -> onnx.ModelProto:
    """`ids (1, D) -> all`: rows that go to `nodes`, the constants of these, and what they make, `y`, in one line.

    There are as many ids as columns: a constant fits where it should not be taken.
    """
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            NODE("Gather", ["table", "ids"], ["rows"], name="lookup"),
            *nodes,
            NODE("Constant", [], ["line"], value_ints=[-1]),
            NODE("Reshape", ["y", "line"], ["all"]),
        ],
        "g",
        [info("ids", TensorProto.INT64, [1, D])],
        [info("all", TensorProto.FLOAT, [None])],
        [stored(table, "table"), *(stored(array, name) for name, array in more.items())],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def chain(*nodes: NodeProto, **more: np.ndarray) -> Callable[[], tuple[list[NodeProto], dict[str, np.ndarray]]]:
    """Nodes from `rows` to `kept`, and a product with `by`."""
    return lambda: ([*nodes, NODE("MatMul", ["kept", "by"], ["y"])], {"by": BY, **more})


def alone(*nodes: NodeProto, **more: np.ndarray) -> Callable[[], tuple[list[NodeProto], dict[str, np.ndarray]]]:
    return lambda: ([*nodes], more)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


FLAT = NODE("Reshape", ["rows", "flat"], ["kept"])

FOLDED = {
    "a product": alone(NODE("MatMul", ["rows", "by"], ["y"]), by=BY),
    "with a vector": alone(NODE("MatMul", ["rows", "by"], ["y"]), by=BY[:, 0]),
    "Identity": chain(NODE("Identity", ["rows"], ["kept"])),
    "Reshape": chain(FLAT, flat=numbers(-1, D)),
    "Flatten": chain(NODE("Flatten", ["rows"], ["kept"], axis=-1)),
    "Flatten from the front": chain(NODE("Flatten", ["rows"], ["kept"], axis=2)),
    "Transpose": chain(NODE("Transpose", ["rows"], ["kept"], perm=[1, 0, 2])),
    "Unsqueeze": chain(NODE("Unsqueeze", ["rows", "at"], ["kept"]), at=numbers(0, -3)),
    "and Squeeze": chain(
        NODE("Unsqueeze", ["rows", "at"], ["wide"]), NODE("Squeeze", ["wide", "at"], ["kept"]), at=numbers(1)
    ),
    "a mean": chain(NODE("ReduceMean", ["rows", "at"], ["kept"], keepdims=0), at=numbers(1)),
    "a sum": chain(NODE("ReduceSum", ["rows", "at"], ["kept"]), at=numbers(-2)),
    "Gemm": alone(
        FLAT, NODE("Gemm", ["kept", "by", "c"], ["y"], alpha=2.0, beta=3.0), by=BY, c=BY[0], flat=numbers(-1, D)
    ),
    "Gemm, turned": alone(
        FLAT, NODE("Gemm", ["kept", "by", "c"], ["y"], transB=1), by=BY.T.copy(), c=BY[0], flat=numbers(-1, D)
    ),
    "Gemm of a square, turned": alone(
        FLAT, NODE("Gemm", ["kept", "by"], ["y"], transB=1), by=SQUARE, flat=numbers(-1, D)
    ),
    "stored the other way": alone(
        NODE("Transpose", ["by"], ["turned"], perm=[1, 0]), NODE("MatMul", ["rows", "turned"], ["y"]), by=BY.T.copy()
    ),
    "two products": alone(
        NODE("MatMul", ["rows", "by"], ["a"]),
        NODE("MatMul", ["rows", "more"], ["b"]),
        NODE("Add", ["a", "b"], ["y"]),
        by=BY,
        more=BY + 1,
    ),
    "of two lookups one constant": alone(
        NODE("Neg", ["ids"], ["others"]),
        NODE("Gather", ["table", "others"], ["again"]),
        NODE("MatMul", ["rows", "by"], ["a"]),
        NODE("MatMul", ["again", "by"], ["b"]),
        NODE("Mul", ["a", "b"], ["y"]),
        by=BY,
    ),
}

LEFT = {
    "something else before": chain(NODE("Relu", ["rows"], ["kept"])),
    "another reader": alone(
        NODE("MatMul", ["rows", "by"], ["a"]),
        NODE("ReduceMax", ["rows", "at"], ["b"]),
        NODE("Add", ["a", "b"], ["y"]),
        by=BY,
        at=numbers(-1),
    ),
    "another reader of what is made": alone(
        NODE("Identity", ["rows"], ["kept"]),
        NODE("MatMul", ["kept", "by"], ["a"]),
        NODE("ReduceSum", ["kept", "at"], ["b"]),
        NODE("Add", ["a", "b"], ["y"]),
        by=BY,
        at=numbers(-1),
    ),
    "a constant that serves something else": alone(
        NODE("MatMul", ["rows", "by"], ["a"]), NODE("ReduceMax", ["by"], ["b"]), NODE("Add", ["a", "b"], ["y"]), by=BY
    ),
    "a constant in two layouts": alone(
        FLAT,
        NODE("Gemm", ["kept", "by"], ["a"], transB=1),
        NODE("MatMul", ["kept", "by"], ["b"]),
        NODE("Add", ["a", "b"], ["y"]),
        by=SQUARE,
        flat=numbers(-1, D),
    ),
    "other columns": alone(
        NODE("Reshape", ["rows", "flat"], ["kept"]),
        NODE("MatMul", ["kept", "by"], ["y"]),
        by=np.concatenate([BY] * D),
        flat=numbers(-1, D * D),
    ),
    "columns that are no longer last": chain(NODE("Transpose", ["rows"], ["kept"], perm=[0, 2, 1])),
    "a sum of them": chain(NODE("ReduceSum", ["rows", "at"], ["kept"], keepdims=0), at=numbers(2)),
    "a mean of them": chain(NODE("ReduceMean", ["rows", "at"], ["kept"], keepdims=0), at=numbers(-1)),
    "columns that are first": chain(
        NODE("Transpose", ["rows"], ["turned"], perm=[2, 0, 1]),
        NODE("Squeeze", ["turned", "at"], ["kept"]),
        at=numbers(-2),
    ),
    "a product with rows on the right": alone(
        NODE("Transpose", ["rows"], ["kept"], perm=[0, 2, 1]),
        NODE("MatMul", ["by", "kept"], ["y"]),
        by=BY.T.copy(),
    ),
    "of rows that are turned": alone(
        FLAT,
        NODE("Gemm", ["kept", "by"], ["y"], transA=1),
        by=RNG.standard_normal((D, 3)).astype(np.float32),
        flat=numbers(-1, D),
    ),
    "a constant in float16": alone(
        NODE("Cast", ["by"], ["wide"], to=TensorProto.FLOAT),
        NODE("MatMul", ["rows", "wide"], ["y"]),
        by=BY.astype(np.float16),
    ),
}


def outputs(model: Path | onnx.ModelProto, ids: np.ndarray = IDS) -> list[np.ndarray]:
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, {"ids": ids})


def check(model: onnx.ModelProto, payload: Payload, folder: Path, folded: list[str], put: int) -> onnx.ModelProto:
    """Rewrite a host: its outputs are those with the decoded table in it, and of the payload `put` bytes are there."""
    report = rewrite_host(save_host(model, folder / "host.onnx"), payload, folder / "new.onnx")
    assert (report.folded, report.payload_bytes) == (folded, put)
    new = onnx.load(folder / "new.onnx")
    onnx.checker.check_model(new, full_check=True)
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    (table,) = (tensor for tensor in expected.graph.initializer if tensor.name == "table")
    table.CopyFrom(stored(decode(payload), "table"))
    for got, want in zip(outputs(folder / "new.onnx"), outputs(expected), strict=True):
        assert got.shape == want.shape
        assert np.linalg.norm(got - want) <= 2e-6 * np.linalg.norm(want)
    return new


@pytest.mark.parametrize("case", FOLDED)
def test_a_matrix_goes_into_the_constants_that_rows_meet(case: str, tmp_path: Path) -> None:
    nodes, more = FOLDED[case]()
    names = ["by", "more"] if "more" in more else ["turned" if case == "stored the other way" else "by"]
    new = check(host(nodes, more), PAYLOAD, tmp_path, sorted(names), PAYLOAD.nbytes - 2 * D * D)
    left = {tensor.name for tensor in new.graph.initializer}
    assert not left & {"by", "more", "es0.matrix"} and "es0.product0" in left
    ours = sum(numpy_helper.to_array(t).nbytes for t in new.graph.initializer if t.name.startswith("es0.product"))
    assert ours == sum(more[name].nbytes for name in ("by", "more") if name in more)


@pytest.mark.parametrize("case", LEFT)
def test_a_matrix_stays_where_anything_else_reads_rows_or_constant(case: str, tmp_path: Path) -> None:
    check(host(*LEFT[case]()), PAYLOAD, tmp_path, [], PAYLOAD.nbytes)


def test_it_stays_where_the_rows_are_an_output(tmp_path: Path) -> None:
    model = host(*FOLDED["a product"]())
    model.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, D, D]))
    check(model, PAYLOAD, tmp_path, [], PAYLOAD.nbytes)


def test_it_stays_where_the_constant_may_be_given_with_a_run(tmp_path: Path) -> None:
    model = host(*FOLDED["a product"]())
    model.graph.input.append(helper.make_tensor_value_info("by", TensorProto.FLOAT, BY.shape))
    check(model, PAYLOAD, tmp_path, [], PAYLOAD.nbytes)


def test_axes_from_the_front_need_the_rank_of_the_ids(tmp_path: Path) -> None:
    nodes, more = FOLDED["Flatten from the front"]()
    model = host([NODE("Neg", ["ids"], ["others"]), *nodes], more)
    model.graph.node[0].input[1] = "others"
    model.graph.node.insert(0, model.graph.node.pop(1))
    check(model, PAYLOAD, tmp_path, [], PAYLOAD.nbytes)


def test_which_payloads_end_in_a_square_matrix(tmp_path: Path) -> None:
    table = EmbeddingTable(np.concatenate([np.zeros((1, D), np.float32), TABLE[1:]]))
    rng = np.random.default_rng(0)
    made = {
        "a matrix of few bits": (Spectral(matrix=KMeans(4), then=KMeans(2)), KMeans(4).nbytes(D, D)),
        "rows of zeros apart": (ExactRows((0,), Spectral(norm="uint8", then=KMeans(2))), 2 * D * D),
        "other rows apart": (ExactRows((1,), Spectral(then=KMeans(2))), None),
        "fewer columns": (PCA(dim=6, keep_dimension=True), None),
    }
    for case, (compressor, matrix) in made.items():
        payload = compressor.compress(table, rng)
        folder = tmp_path / case
        folder.mkdir()
        model = host(*FOLDED["a product"](), table=table.read(slice(None)))
        put = payload.nbytes - (matrix or 0)
        check(model, payload, folder, [] if matrix is None else ["by"], put)


def test_in_a_body_and_with_fewer_rows(tmp_path: Path) -> None:
    """The constant of a product in a branch is stored in the main graph; the ids of dropped rows give zeros."""
    info = helper.make_tensor_value_info
    branches = {
        f"{name}_branch": helper.make_graph(
            [NODE("Gather", ["table", "ids"], ["rows"]), NODE("MatMul", ["rows", "by"], ["z"])],
            name,
            [],
            [info("z", TensorProto.FLOAT, None)],
            [stored(BY + (name == "else"), "by")],
        )
        for name in ("then", "else")
    }
    nodes = [NODE("Constant", [], ["yes"], value=stored(np.array(False), "v")), NODE("If", ["yes"], ["y"], **branches)]
    model = host(nodes, {})
    del model.graph.node[0]
    rows = np.arange(0, N, 2)
    payload = spectral(TABLE[rows])
    kept = Kept(rows, remap=True, oov="zeros")
    path = save_host(model, tmp_path / "host.onnx")
    report = rewrite_host(path, payload, tmp_path / "new.onnx", kept=kept)
    assert (report.folded, report.lookups) == (["by", "by"], 2)
    expected = np.zeros((N, D), np.float32)
    expected[rows] = decode(payload)
    (got,) = outputs(tmp_path / "new.onnx", ids := IDS % N)
    want = (expected[ids] @ (BY + 1)).ravel()
    assert np.linalg.norm(got - want) <= 2e-6 * np.linalg.norm(want)


def test_in_a_data_file(tmp_path: Path) -> None:
    nodes, more = FOLDED["a product"]()
    more["by"] = RNG.standard_normal((D, 400)).astype(np.float32)
    path = save_host(host(nodes, more), tmp_path / "host.onnx", external=True)
    report = rewrite_host(path, PAYLOAD, tmp_path / "new.onnx")
    assert report.folded == ["by"] and report.removed_bytes == TABLE.nbytes
    assert report.file_bytes < report.host_bytes - TABLE.nbytes + report.payload_bytes + (1 << 14)
    (got,) = outputs(tmp_path / "new.onnx")
    want = (decode(PAYLOAD)[IDS] @ more["by"]).ravel()
    assert np.linalg.norm(got - want) <= 2e-6 * np.linalg.norm(want)


def test_other_payloads_and_hosts_are_as_before(tmp_path: Path) -> None:
    check(host(*FOLDED["a product"]()), uniform(), tmp_path, [], uniform().nbytes)
    report = rewrite_host(save_host(make_host(TABLE), tmp_path / "host.onnx"), PAYLOAD, tmp_path / "new.onnx")
    assert report.folded == [] and "matrix" not in str(report)
    half = make_host(TABLE, "half")
    assert not rewrite_host(save_host(half, tmp_path / "host.onnx"), PAYLOAD, tmp_path / "new.onnx").folded


def test_a_wrong_constant_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_host(host(*FOLDED["a product"]()), tmp_path / "host.onnx")
    monkeypatch.setattr(Product, "times", lambda product, matrix: (matrix.T @ product.by.whole()).astype(np.float32))
    with pytest.raises(VerificationError, match=r"^new\.onnx: relative_error is \d\.\d+, allowed is 1e-05: not writ"):
        rewrite_host(path, PAYLOAD, tmp_path / "new.onnx")
    monkeypatch.undo()


def test_the_report_names_the_constants(tmp_path: Path) -> None:
    report = rewrite_host(
        save_host(host(*FOLDED["two products"]()), tmp_path / "host.onnx"), PAYLOAD, tmp_path / "new.onnx"
    )
    assert "the payload's matrix is multiplied into by; more, which rows meet next\n" in str(report)
