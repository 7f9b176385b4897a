"""Memory and time of a selection as a table grows: float8 rows in shards, through the whole main job.

    python benchmarks/scale.py [--rows 100000 1000000 10000000] [--shards 16] [--folder FOLDER]

For each number of rows it writes an (n, 64) table in float8 (E4M3) over safetensors shards, runs `eigenselect` on it
with eight candidates of 1 and 2 bits (uniform, k-means, byte codebook, byte codebook on spectral coordinates), and
prints the time, the processor time, and the most memory that any process of it held, mapped pages included.

Results: benchmarks/scale.md.
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
from large_table import write_shard

D = 64
BLOCK_ROWS = 1 << 16
POOL = """\
pool:
  uniform: {_target_: eigenselect.compressors.Uniform, bits: [1, 2]}
  kmeans: {_target_: eigenselect.compressors.KMeans, bits: [1, 2]}
  codebook: {_target_: eigenselect.compressors.ByteCodebook, bits: [1, 2]}
  spectral:
    _target_: eigenselect.compressors.Spectral
    norm: uint8
    then: {_target_: eigenselect.compressors.ByteCodebook, bits: [1, 2]}
"""
BUDGET = "8%"


def write_shards(folder: Path, n: int, shards: int) -> None:
    """An (n, D) float8 table with a decaying spectrum, in files of about as many rows each."""
    rng = np.random.default_rng(0)
    spectrum = (1 / np.sqrt(1 + np.arange(D) / 8)).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((D, D)))[0].astype(np.float32) * spectrum[:, None]
    for i, ids in enumerate(np.linspace(0, n, shards + 1).astype(int)[:-1]):
        count = int(np.linspace(0, n, shards + 1).astype(int)[i + 1] - ids)
        blocks = (min(BLOCK_ROWS, count - start) for start in range(0, count, BLOCK_ROWS))
        parts = (
            (rng.standard_normal((rows, D), np.float32) @ basis).astype(ml_dtypes.float8_e4m3fn).tobytes()
            for rows in blocks
        )
        name = f"table-{i:05}-of-{shards:05}.safetensors"
        write_shard(folder / name, {"weight": ("F8_E4M3", [count, D], count * D)}, parts)


def measured(n: int, shards: int, folder: Path, words: list[str]) -> tuple[float, float, int, dict[str, object]]:
    """Seconds, processor seconds and bytes of one selection, and what it decided."""
    (shard_folder := folder / "shards").mkdir()
    write_shards(shard_folder, n, shards)
    (pools := folder / "conf" / "candidates").mkdir(parents=True)
    (pools / "scale.yaml").write_text(POOL)
    path = shard_folder / ("*.safetensors" if shards > 1 else "table-00000-of-00001.safetensors")
    given = ["--config-dir", str(pools.parent), "candidates=scale", f"table.path={path}", f"out={folder}/out"]
    own = {"TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder)}  # no sums of an earlier run
    environment = os.environ | own | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    command = [sys.executable, "-m", "eigenselect", *given, f"budget={BUDGET}", *words]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the selection ended with status {status}")
    seconds = time.perf_counter() - start
    decision = json.loads((folder / "out" / "selection.json").read_text())
    return seconds, usage.ru_utime + usage.ru_stime, peak(usage), decision


def peak(usage: resource.struct_rusage) -> int:
    """Bytes of the process and, where one of those that it waited for held more, of that one."""
    return 1024 * usage.ru_maxrss


def main() -> None:
    """Write, select and print, for each number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--folder", default=None)
    args, words = parser.parse_known_args()
    lines = [
        "| rows | table | payload of the choice | time | processor time | a million rows | memory |",
        "|" + "---|" * 7,
    ]
    for n in args.rows:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            seconds, processor, nbytes, decision = measured(n, args.shards, Path(folder), words)
        chosen = decision["chosen"]  # type: ignore[index]
        lines.append(
            f"| {n:,} | {n * D / 1e6:,.1f} MB | {chosen['nbytes'] / 1e6:,.1f} MB | {seconds:,.0f} s "
            f"| {processor:,.0f} s | {1e6 * processor / n:.1f} s | {nbytes / 1e9:.2f} GB |"
        )
        print(lines[-1], flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
