"""Reading a GloVe text table: `read_table` against `pandas.read_csv`.

Writes a synthetic table to a temporary folder, then reads it with each in turn, in fresh processes.

    python benchmarks/reading.py                  # 400000 x 300, about 1 GB on disk while it runs
    python benchmarks/reading.py --rows 100000

Recorded on 2 cores shared with other work (numpy 2.4, pyarrow 25, pandas 3.1); best of 3 each, one run a row:

    rows x d        text       read_table / pandas, speed    peak above the table: read_table, pandas
    400000 x 300    1036 MB    1.24                          165 MB, 2183 MB
    100000 x 300     259 MB    1.03                          122 MB,  647 MB

The ratio moves with the other work, because read_table parses on two threads and pandas on one: at 100000 x 300
runs of earlier states gave 0.63 to 0.75. The peaks hold the imports, 62 MB for read_table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHUNK_ROWS = 2000
"""Rows that are formatted once and then repeated under other tokens; formatting is slow, reading is the subject."""


def write_table(path: Path, rows: int, d: int) -> None:
    rng = np.random.default_rng(0)
    values = [" ".join(f"{x:.5g}" for x in row) for row in rng.normal(0, 0.4, (min(CHUNK_ROWS, rows), d))]
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, rows, CHUNK_ROWS):
            span = range(start, min(start + CHUNK_ROWS, rows))
            file.writelines(f"token{row} {line}\n" for row, line in zip(span, values, strict=False))


def read_with(reader: str, path: Path, d: int) -> dict[str, float]:
    """Seconds and peak bytes of one read in this process, from after the imports."""
    if reader == "read_table":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from eigenselect.selector.sources import read_table

        start = time.perf_counter()
        table = read_table(path, format="glove")
        checksum = float(table.vectors[-1].sum())
    else:
        import pandas

        types = {0: str} | dict.fromkeys(range(1, d + 1), np.float32)
        start = time.perf_counter()
        frame = pandas.read_csv(path, sep=" ", header=None, quoting=3, engine="c", dtype=types, na_filter=False)
        checksum = float(frame.iloc[-1, 1:].to_numpy(np.float32).sum())
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak": peak, "checksum": checksum}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--d", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("READER", "PATH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(read_with(args.child[0], Path(args.child[1]), args.d)))
        return

    table = 4 * args.rows * args.d
    results: dict[str, list[dict[str, float]]] = {"read_table": [], "pandas": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "glove.txt"
        write_table(path, args.rows, args.d)
        print(f"{args.rows} x {args.d}: {path.stat().st_size / 1e6:.0f} MB of text, {table / 1e6:.0f} MB of float32")
        for _ in range(args.repeats):
            for reader, runs in results.items():
                command = [sys.executable, __file__, "--d", str(args.d), "--child", reader, str(path)]
                runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    best = {reader: min(run["seconds"] for run in runs) for reader, runs in results.items()}
    for reader, runs in results.items():
        seconds = " ".join(f"{run['seconds']:.2f}" for run in runs)
        peak = max(run["peak"] for run in runs)
        print(f"{reader:12} {seconds} s   peak {peak / 1e6:.0f} MB = table + {(peak - table) / 1e6:.0f} MB")
    first = [runs[0]["checksum"] for runs in results.values()]
    print(f"speed of read_table / pandas: {best['pandas'] / best['read_table']:.2f} (best of {args.repeats} each)")
    print("last rows agree" if np.isclose(*first, rtol=1e-4) else f"last rows differ: {first}")


if __name__ == "__main__":
    main()
