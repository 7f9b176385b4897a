"""A selection from a table larger than memory: a sharded checkpoint in bfloat16 or float8, through the whole main job.

    python benchmarks/large_table.py [--gigabytes 4] [--type BF16] [--folder FOLDER]

writes a model folder (two shards, an index, a configuration), runs `eigenselect` on it with a few candidates that are
found without training, and prints the time and the most memory that any process of it held.

Results of one AMD EPYC (2 threads), other work on it: benchmarks/large_table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np

D = 256
BLOCK_ROWS = 1 << 14
TYPES = {"BF16": np.dtype(ml_dtypes.bfloat16), "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn)}
POOL = """\
pool:
  pca:
    _target_: eigenselect.compressors.PCA
    rate: 4
    keep_dimension: true
    then: {_target_: eigenselect.compressors.Uniform, bits: [1, 2]}
  uniform: {_target_: eigenselect.compressors.Uniform, bits: [1]}
"""
NAME = "model.embed_tokens.weight"


def write_shard(path: Path, entries: dict[str, tuple[str, list[int], int]], parts: object) -> None:
    """A safetensors file of these tensors, (type, shape, bytes) each, from the bytes of `parts` in turn."""
    header, at = {}, 0
    for name, (dtype, shape, nbytes) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + nbytes]}
        at += nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for part in parts:  # type: ignore[attr-defined]
            file.write(part)


def write_folder(folder: Path, n: int, type_: str) -> None:
    """An (n, D) table with a decaying spectrum, and a layer in another shard."""
    rng, dtype = np.random.default_rng(0), TYPES[type_]
    spectrum = (1 / np.sqrt(1 + np.arange(D) / 32)).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((D, D)))[0].astype(np.float32) * spectrum[:, None]
    scales = rng.uniform(0.5, 2, (-(-n // 128), D // 128)).astype(np.float32)

    def parts() -> object:
        for start in range(0, n, BLOCK_ROWS):
            rows = rng.standard_normal((min(BLOCK_ROWS, n - start), D), np.float32) @ basis
            yield rows.astype(dtype).tobytes()
        if type_ != "BF16":
            yield scales.tobytes()

    table = {NAME: (type_, [n, D], n * D * dtype.itemsize)}
    if type_ != "BF16":
        table[f"{NAME}_scale_inv"] = ("F32", [*scales.shape], scales.nbytes)
    layer = {"model.layers.0.mlp.up_proj.weight": ("F32", [D, D], 4 * D * D)}
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    write_shard(folder / files[0], layer, [bytes(4 * D * D)])
    write_shard(folder / files[1], table, parts())
    weight_map = dict.fromkeys(layer, files[0]) | dict.fromkeys(table, files[1])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"vocab_size": n, "tie_word_embeddings": True}))


def main() -> None:
    """Write, select, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--type", choices=TYPES, default="BF16")
    parser.add_argument("--budget", default="2%", help="of float32; 1 bit a number is 3.1%%")
    parser.add_argument("--folder", default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        model = Path(folder) / "model"
        model.mkdir()
        n = int(args.gigabytes * 1e9) // (D * TYPES[args.type].itemsize)
        write_folder(model, n, args.type)
        stored = sum(file.stat().st_size for file in model.iterdir())
        print(f"{n:,} x {D} {args.type}, {stored / 1e9:.2f} GB in {model}", flush=True)
        (pools := Path(folder) / "conf" / "candidates").mkdir(parents=True)
        (pools / "large.yaml").write_text(POOL)
        words = ["--config-dir", str(pools.parent), "candidates=large", f"table.path={model}", f"out={folder}/out"]
        words.append(f"budget={args.budget}")
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "XDG_CACHE_HOME": folder}
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "eigenselect", *words], check=True, cwd=folder, env=environment)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        print(f"{seconds:.0f} s, at most {peak / 1e9:.2f} GB resident in one process")


if __name__ == "__main__":
    main()
