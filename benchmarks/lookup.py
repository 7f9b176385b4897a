"""Lookups beside ONNX Runtime's float32 Gather and its product, on a CPU: `python benchmarks/lookup.py [--rows N]`.

Batches of 8,192 random ids of a table of 50 columns and of one of 300, of random bytes. A number is how many times as
long as the `Gather` of the float32 table a form takes: the median over rounds, in each of which it runs right after the
Gather, on the same ids. Of tables with a matrix there is also how many times as long as the bare product, 8,192 x d by
d x d, they take. One thread's time is processor time, that of more is elapsed time. The output is allocated beforehand.
`make native` comes first; without it the last two columns are left out.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from eigenselect.compressors import Payload
from eigenselect.compressors.codebooks.scalar import affine
from eigenselect.compressors.methods.trellis_code import shares
from eigenselect.compressors.payloads.bitpack import plane_bytes, plane_widths
from eigenselect.compressors.payloads.composed import Columns, Projected, Scaled, Sum, Unaligned
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.payloads.trellis import Trellis
from eigenselect.export import native, to_onnx
from eigenselect.export.operators.model import IR_VERSION
from eigenselect.export.verification.timing import processor

BATCH = 8192


def payloads(n: int, d: int, rng: np.random.Generator) -> Iterator[tuple[str, Payload]]:
    """Tables of n rows and d columns by name."""

    def bytes_of(width: int) -> np.ndarray:
        return rng.integers(0, 256, (n, plane_bytes(d, width)), dtype=np.uint8)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    def uniform(bits: int) -> Payload:
        return affine([bytes_of(width) for width in plane_widths(bits)], bits, d, (2**bits - 1) / 2, 0.1)

    def codebook(bits: int) -> Payload:
        return Packed(bytes_of(bits), normal(256, 8 // bits), d)

    def trellis(bits: int, window: int = 10) -> Payload:
        parts = tuple(Trellis(bytes_of(width), normal(1 << window), width, d) for width in plane_widths(bits))
        return parts[0] if len(parts) == 1 else Sum(parts)

    norms = Dense(normal(n, 1).astype(np.float16))
    codes = Packed(rng.integers(0, 256, (n, 1), dtype=np.uint8), normal(256, 1), 1)
    matrix = normal(d, d).astype(np.float16)
    yield from ((f"uniform b={bits}", uniform(bits)) for bits in (1, 2, 3, 4, 8))
    yield from ((f"byte codebook b={bits}", codebook(bits)) for bits in (1, 2, 4))
    yield "k-means b=8", Packed(bytes_of(8), normal(256, 1), d)
    yield from ((f"trellis b={bits}", trellis(bits)) for bits in (1, 2, 4))
    yield from ((f"trellis b={bits}, scales", Unaligned(Scaled(trellis(bits), norms))) for bits in (1, 2, 3, 4))
    yield "trellis b=2, window 12, scales", Unaligned(Scaled(trellis(2, 12), norms))
    yield "trellis b=2, scales of 8 bits", Unaligned(Scaled(trellis(2), codes))
    places = (np.cumsum(shares(np.ones(d), plane_bytes(d, 2))) - 1).astype(np.int32)
    spread = Trellis(bytes_of(2), normal(1 << 10), 1, 8 * plane_bytes(d, 2))
    yield "trellis whose values share the bytes of 2 bits", Columns(spread, places)
    yield "byte codebook b=2, scales, matrix", Projected(Scaled(codebook(2), norms), matrix)
    yield from (
        (f"trellis b={bits}, scales, matrix", Projected(Scaled(trellis(bits), norms), matrix)) for bits in (1, 2)
    )


def product(d: int, rng: np.random.Generator) -> onnx.ModelProto:
    """The bare product of a batch, by the ids' side, with a matrix that is stored."""
    rows, matrix = (rng.standard_normal(shape, dtype=np.float32) for shape in ((BATCH, d), (d, d)))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "matrix"], ["vectors"])],
        "product",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, [BATCH, d])],
        [numpy_helper.from_array(rows, "rows"), numpy_helper.from_array(matrix, "matrix")],
    )
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", 18)])


def session(model: onnx.ModelProto, threads: int, *, with_library: bool = False, as_it_is: bool = False):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_it_is:  # a product of constants would be made when it is loaded
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if with_library:
        native.register(options)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def seconds(made: ort.InferenceSession, ids: np.ndarray, out: ort.OrtValue) -> float:
    binding = made.io_binding()
    binding.bind_cpu_input("ids", ids)
    binding.bind_ortvalue_output("vectors", out)
    # One thread is this one, and its own time does not grow by what else the machine does.
    clock = time.thread_time if made.get_session_options().intra_op_num_threads == 1 else time.perf_counter
    start = clock()
    made.run_with_iobinding(binding)
    return clock() - start


def ratio(made: ort.InferenceSession, beside: ort.InferenceSession, batches: np.ndarray, out: ort.OrtValue) -> float:
    """How many times as long as `beside` a session takes."""
    pairs = [(seconds(beside, ids, out), seconds(made, ids, out)) for ids in batches]
    return statistics.median(took / other for other, took in pairs[3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=43)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    forms = [*itertools.product(([False, True] if native.library() else [False]), ("portable", "cpu"))]
    columns = [f"{target}{', native' * with_library}" for with_library, target in forms]
    print(f"{processor()}, ONNX Runtime {ort.__version__}, {args.threads} thread(s), {args.rows:,} rows", flush=True)
    for d in (50, 300):
        rng = np.random.default_rng(0)
        out = ort.OrtValue.ortvalue_from_numpy(np.zeros((BATCH, d), np.float32))
        batches = rng.integers(0, args.rows, (args.rounds, BATCH))
        gather = session(to_onnx(Dense(rng.standard_normal((args.rows, d), dtype=np.float32))), args.threads)
        bare = session(product(d, rng), args.threads, as_it_is=True)
        took, multiplied = (statistics.median(seconds(made, ids, out) for ids in batches) for made in (gather, bare))
        print(f"\n{d} columns: Gather {took * 1e3:.2f} ms a batch, bare product {multiplied * 1e3:.2f} ms\n")
        print(f"| table, beside | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|", flush=True)
        for name, payload in payloads(args.rows, d, rng):
            models = {target: to_onnx(payload, target=target) for target in ("portable", "cpu")}
            made = [session(models[target], args.threads, with_library=library) for library, target in forms]
            besides = {"Gather": gather} | ({"product": bare} if isinstance(payload, Projected) else {})
            for what, beside in besides.items():
                ratios = " | ".join(f"{ratio(each, beside, batches, out):.2f}" for each in made)
                print(f"| {name}: {what} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
