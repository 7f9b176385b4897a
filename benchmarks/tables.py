"""One budget over 26 tables of 100 to 1,000,000 rows: the split against dynamic programming, and the time.

    python benchmarks/tables.py FOLDER [--budget 12.5%] [--pool tables] [--host COUNT]

Makes the tables in FOLDER, `table00.npy` and so on, 16 columns each: values as of a trained recommender, rows by a
power law of how often they occur. Runs `eigenselect tables=[...]` on them, and then splits the budget between the
curves of its record by dynamic programming, in units of which there are so many in the budget. With --host the first
COUNT tables are those of an ONNX model, `dlrm.onnx`: their rows, one of each, are joined and multiplied by a matrix.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from eigenselect.export.verification.timing import processor
from eigenselect.selector.decision.tables import TablesDecision, read_tables_decision

TABLES, COLUMNS, UNITS = 26, 16, 1_000_000


def make(folder: Path) -> list[Path]:
    """The tables, of 10² to 10⁶ rows."""
    paths = []
    for number, n in enumerate(np.geomspace(100, 1_000_000, TABLES).round().astype(int)):
        path = folder / f"table{number:02}.npy"
        if not path.exists():
            rng = np.random.default_rng(number)
            scales = np.geomspace(1, rng.uniform(0.05, 0.8), COLUMNS, dtype=np.float32)
            often = (1 + np.arange(n, dtype=np.float32))[:, None] ** -0.25  # what is seldom seen stays near its start
            rows = rng.standard_normal((n, COLUMNS), np.float32) * scales * (0.1 + often)
            np.save(path, rows @ np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))[0].astype(np.float32))
        paths.append(path)
    return paths


def host(paths: list[Path], out: Path) -> None:
    """A model that looks a row up in each of the tables, and makes 8 values of them all."""
    names, node = [path.stem for path in paths], onnx.helper.make_node
    weights = np.random.default_rng(0).standard_normal((COLUMNS * len(paths), 8), np.float32) / 20
    info, types = onnx.helper.make_tensor_value_info, onnx.TensorProto
    graph = onnx.helper.make_graph(
        [
            *(node("Gather", [name, f"{name}_id"], [f"{name}_row"]) for name in names),
            node("Concat", [f"{name}_row" for name in names], ["rows"], axis=1),
            node("MatMul", ["rows", "weights"], ["products"]),
            node("Relu", ["products"], ["y"]),
        ],
        "dlrm",
        [info(f"{name}_id", types.INT64, ["batch"]) for name in names],
        [info("y", types.FLOAT, ["batch", 8])],
        [
            *(onnx.numpy_helper.from_array(np.load(path), path.stem) for path in paths),
            onnx.numpy_helper.from_array(weights, "weights"),
        ],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), out)


def best(decision: TablesDecision, down: bool) -> float:
    """The best weighted sum by dynamic programming, with bytes in units of the budget, rounded down or up."""
    unit = decision.budget_bytes / UNITS
    reached: npt.NDArray[np.float64] = np.zeros(UNITS + 1)
    for table in decision.tables:
        found = np.full(UNITS + 1, -np.inf)
        for point in table.curve:
            units = int(point.nbytes / unit) if down else int(np.ceil(point.nbytes / unit))
            if units <= UNITS:
                found[units:] = np.maximum(found[units:], reached[: UNITS + 1 - units] + table.weight * point.score)
        reached = found
    return float(reached[-1])


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", default="12.5%")
    parser.add_argument("--pool", default="tables")
    parser.add_argument("--host", type=int, metavar="COUNT")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    paths = make(given.folder)
    out = given.folder / "out"
    words = [f"tables=[{','.join(map(str, paths))}]", f"budget={given.budget}", f"candidates={given.pool}"]
    if given.host is not None:
        host(paths[: given.host], given.folder / "dlrm.onnx")
        words[0] = "tables=['*']"
        words.append(f"table.path={given.folder / 'dlrm.onnx'}")
    folder = given.folder.resolve()
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "XDG_CACHE_HOME": str(folder)}
    began = time.time()
    process = subprocess.Popen([sys.executable, "-m", "eigenselect", *words, f"out={out}"], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.time() - began
    assert os.waitstatus_to_exitcode(status) == 0
    decision = read_tables_decision(out / "tables.json")
    lower, upper = best(decision, down=False), best(decision, down=True)
    print(
        json.dumps(
            {
                "processor": processor(),
                "float32_bytes": decision.float32_bytes,
                "budget_bytes": decision.budget_bytes,
                "nbytes": decision.nbytes,
                "points": sum(len(table.curve) for table in decision.tables),
                "score": decision.score,
                "bound": decision.bound,
                "even_score": decision.even_score,
                "dynamic_programming": [lower, upper],
                "below_dynamic_programming": max(0.0, upper / decision.score - 1),
                "seconds": round(took, 1),
                "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
                "memory_megabytes": round(usage.ru_maxrss / 1e3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
