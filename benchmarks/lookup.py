"""Lookups beside ONNX Runtime's float32 Gather, on a CPU: `python benchmarks/lookup.py [--rows N] [--rounds N]`.

Batches of 8192 random ids of a table of 300 columns, of random bytes. A number is how many times as fast as the Gather
of the float32 table: the median over rounds, in each of which a form runs right after the Gather, on the same ids. One
thread's time is processor time, that of two is elapsed time. The output is allocated beforehand. Threads do not spin
while they wait: those of other sessions would be in the way.
`make native` comes first.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import numpy as np
import onnx
import onnxruntime as ort

from eigenselect.compressors import Payload
from eigenselect.compressors.codebooks.scalar import affine
from eigenselect.compressors.payloads.bitpack import plane_bytes, plane_widths
from eigenselect.compressors.payloads.composed import Projected, Scaled
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.export import native, to_onnx

D, BATCH = 300, 8192

FORMS = (("portable", False), ("cpu", False), ("portable", True), ("cpu", True))
"""Target of the export, and whether the native library is registered."""


def payloads(n: int, rng: np.random.Generator) -> dict[str, Payload]:
    """Tables of n rows by name."""

    def bytes_of(width: int) -> np.ndarray:
        return rng.integers(0, 256, (n, plane_bytes(D, width)), dtype=np.uint8)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    def uniform(bits: int) -> Payload:
        return affine([bytes_of(width) for width in plane_widths(bits)], bits, D, (2**bits - 1) / 2, 0.1)

    def codebook(bits: int) -> Payload:
        return Packed(bytes_of(bits), normal(256, 8 // bits), D)

    norms = Dense(normal(n, 1).astype(np.float16))
    return (
        {f"uniform b={bits}": uniform(bits) for bits in (1, 2, 3, 4, 8)}
        | {f"byte codebook b={bits}": codebook(bits) for bits in (1, 2, 4)}
        | {"k-means b=8": Packed(bytes_of(8), normal(256, 1), D)}
        | {"spectral b=2": Projected(Scaled(codebook(2), norms), normal(D, D).astype(np.float16))}
    )


def session(model: onnx.ModelProto, threads: int, with_library: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=51)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    table = to_onnx(Dense(rng.standard_normal((args.rows, D), dtype=np.float32)))
    gathers = {threads: session(table, threads, False) for threads in (1, 2)}
    out = ort.OrtValue.ortvalue_from_numpy(np.zeros((BATCH, D), np.float32))
    batches = rng.integers(0, args.rows, (args.rounds, BATCH))
    for threads, gather in gathers.items():
        took = statistics.median(seconds(gather, ids, out) for ids in batches)
        print(f"{args.rows} x {D}, {threads} threads: Gather {took * 1e3:.2f} ms a batch", flush=True)
    columns = [
        f"{target}{' native' * with_library}, {threads} thr."
        for (target, with_library), threads in itertools.product(FORMS, gathers)
    ]
    print(f"\n| table | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|", flush=True)
    for name, payload in payloads(args.rows, rng).items():
        models = {target: to_onnx(payload, target=target) for target in ("portable", "cpu")}
        ratios = []
        for (target, with_library), (threads, gather) in itertools.product(FORMS, gathers.items()):
            form = session(models[target], threads, with_library)
            pairs = [(seconds(gather, ids, out), seconds(form, ids, out)) for ids in batches]
            ratios.append(statistics.median(gather_took / took for gather_took, took in pairs[3:]))
        print(f"| {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |", flush=True)


if __name__ == "__main__":
    main()
