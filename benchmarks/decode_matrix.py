"""Decode matrices of fewer multiply-adds, and what they lose: `python benchmarks/decode_matrix.py TABLE [--rows N]`.

A spectral form decodes z to z M. What is quantized is X M⁻¹, so that any invertible M keeps the column span; M decides
where the error falls. The default is M = Qᵀ S^½ Vᵀ with a random rotation Q, d² multiply-adds a row. Since Q is free,
it may be that of S^½ Vᵀ = Q R, which leaves R: triangular, half of the products and of the bytes. Fewer still has a
rotation of two factors of blocks with a permutation between (2 d √d), which whitens nothing, and the same after which
the largest r directions are scaled (2 d r more). All are stored in float16 and come after 2-bit k-means with a scale
for each row. Times are of ONNX Runtime on one thread, 8,192 rows: the triangle as products of a few blocks of columns.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from eigenselect.compressors import EmbeddingTable, Identity, KMeans, Payload
from eigenselect.compressors.data.views import ProjectedTable
from eigenselect.compressors.payloads.composed import Projected, Scaled
from eigenselect.export.operators.model import IR_VERSION
from eigenselect.export.verification.timing import processor
from eigenselect.selector.measures import score
from eigenselect.selector.sources import read_table

BATCH, ROUNDS = 8192, 21


def compressed(table: EmbeddingTable, matrix: np.ndarray) -> Payload:
    """The table in the coordinates that `matrix` decodes."""
    decode = matrix / np.abs(matrix).max()
    z = ProjectedTable(table, np.linalg.inv(decode).astype(np.float32)).read(slice(0, table.n)).astype(np.float64)
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    part = KMeans(2).compress(EmbeddingTable((z / np.where(lengths > 0, lengths, 1)).astype(np.float32)), rng)
    codes = part.read(slice(0, table.n)).astype(np.float64)
    scales = (z * codes).sum(1, keepdims=True) / np.maximum((codes**2).sum(1, keepdims=True), 1e-30)
    return Projected(
        Scaled(part, Identity("float16").compress(EmbeddingTable(scales.astype(np.float32)), rng)),
        decode.astype(np.float16),
    )


def rotation(size: int, rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def two_factors(d: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A rotation of two factors of blocks, and its multiply-adds."""
    size = max(k for k in range(1, math.isqrt(d) + 1) if d % k == 0)

    def blocks(size: int) -> np.ndarray:
        factor = np.zeros((d, d))
        for start in range(0, d, size):
            factor[start : start + size, start : start + size] = rotation(size, rng)
        return factor

    order = np.arange(d).reshape(d // size, size).T.ravel()
    return blocks(size)[:, order] @ blocks(d // size), d * (size + d // size)


def forms(table: EmbeddingTable, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, int]]:
    """Name, matrix and multiply-adds a row."""
    d, (sigma, vectors) = table.d, table.spectrum
    half = np.sqrt(sigma)
    whole = half[:, None] * vectors.T
    yield "random rotation", rotation(d, rng).T @ whole, d * d
    yield "triangular", np.linalg.qr(whole)[1], d * (d + 1) // 2
    factored, cost = two_factors(d, rng)
    yield "two factors of blocks", factored, cost
    for rank in (d // 16, d // 8, d // 4):
        rest = np.exp(np.log(half[rank:]).mean())
        largest = vectors[:, :rank]
        scaled = rest * (np.eye(d) + (largest * (half[:rank] / rest - 1)) @ largest.T)
        yield f"the same and {rank} directions", factored @ scaled, cost + 2 * d * rank


def product(d: int, blocks: int) -> ort.InferenceSession:
    """Rows times an upper triangle, in so many blocks of columns: one is the whole matrix."""
    ends = [d * (i + 1) // blocks for i in range(blocks)]
    stored, nodes = {"axis": np.array([-1]), "zero": np.array([0])}, []
    for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        stored |= {f"end{i}": np.array([end]), f"block{i}": np.ones((end, end - start), np.float32)}
        nodes.append(helper.make_node("Slice", ["rows", "zero", f"end{i}", "axis"], [f"part{i}"]))
        nodes.append(helper.make_node("MatMul", [f"part{i}", f"block{i}"], [f"columns{i}"]))
    nodes.append(helper.make_node("Concat", [f"columns{i}" for i in range(blocks)], ["vectors"], axis=-1))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, d]) for name in ("rows", "vectors")]
    initializers = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "product", values[:1], values[1:], initializers)
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", 18)])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def milliseconds(made: ort.InferenceSession, rows: np.ndarray) -> float:
    start = time.thread_time()
    made.run(None, {"rows": rows})
    return 1e3 * (time.thread_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--rows", type=int, default=12_000)
    args = parser.parse_args()
    rng = np.random.default_rng(1)
    whole = read_table(args.table)
    some = np.sort(rng.choice(whole.n, min(args.rows, whole.n), replace=False))
    table = EmbeddingTable(whole.read(some).astype(np.float32))
    print(f"{table.n} x {table.d}\n\n| matrix | multiply-adds | EOS | rel. error |\n|---|---|---|---|", flush=True)
    for name, matrix, cost in forms(table, rng):
        scores = score(table, compressed(table, matrix))
        error = scores["reconstruction_error_relative"]
        print(f"| {name} | {cost / table.d**2:.2f} d² | {scores['eos']:.4f} | {error:.4f} |", flush=True)
    rows = rng.standard_normal((BATCH, table.d), dtype=np.float32)
    counts = (1, 2, 3, 4, 6)
    made = [product(table.d, count) for count in counts]
    turns = [[milliseconds(each, rows) for each in made] for _ in range(ROUNDS)]
    print(f"\n{processor()}, ONNX Runtime {ort.__version__}, one thread, {BATCH:,} rows:")
    for column, count in enumerate(counts):
        took, ratio = (statistics.median(t) for t in ([t[column] for t in turns], [t[column] / t[0] for t in turns]))
        print(f"{count} blocks of columns: {took:.2f} ms, {ratio:.2f} of the whole product")


if __name__ == "__main__":
    main()
