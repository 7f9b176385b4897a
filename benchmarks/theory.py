"""Table 3, Figure 4 and Figure 5 of May et al. (NeurIPS 2019), measured: `python benchmarks/theory.py TABLE`.

Table 3: the largest singular value of a table is set to 0. Figure 4: how 1 - EOS of unbiased uniform quantization
without a clip search goes with bits, a, rows and dimension, on uniform entries, as the study's code draws them.
Figure 5: 1 - EOS of a table against the clip threshold, in parts of its largest entry.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eigenselect.compressors import EmbeddingTable
from eigenselect.selector.measures import Measures
from eigenselect.selector.measures.moments import moments
from eigenselect.selector.sources import read_table

DRAWS = 5
BITS = (1, 2, 4)
CLIPS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)

# The main call of the study's code: one of them moves, the others stay here.
ROWS, COLUMNS, WIDTH = 10_000, 10, 2
MOVED: dict[str, tuple[float, ...]] = {
    "b": (1, 2, 4, 8),
    "a": (1, 0.1, 0.01, 0.001),  # the smallest column scale; the others lie evenly between it and 1 on a log axis
    "n": (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
    "d": (10, 30, 100, 300),
}


def quantized(x: np.ndarray, bits: int, clip: float, rng: np.random.Generator | None) -> np.ndarray:
    """Algorithm 1 with a given threshold: unbiased where there is a generator, else to the nearest level."""
    step = 2 * clip / (2**bits - 1)
    place = (np.clip(x, -clip, clip) + clip) / step
    code = np.rint(place) if rng is None else np.floor(place + rng.random(x.shape))
    return np.minimum(code, 2**bits - 1) * step - clip


def measured(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    """Every measure of the candidate y for the table x."""
    return Measures()(moments(EmbeddingTable(np.ascontiguousarray(x, np.float32)), lambda rows: y[rows], aligned=True))


def table_3(x: np.ndarray) -> list[dict[str, Any]]:
    """A row a measure: its closed form of the singular values, and what is measured."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    d, smallest = len(s), s[-1] ** 2
    closed = {
        "eos": 1 - 1 / d,
        "reconstruction_error_relative": s[0] / np.sqrt((s**2).sum()),
        "pip_loss_relative": s[0] ** 2 / np.sqrt((s**4).sum()),
        "delta1": s[0] ** 2 / (s[0] ** 2 + smallest),
        "delta2": 0.0,
        "delta_max": (s[0] ** 2 + smallest) / smallest,
    }
    without = s.copy()
    without[0] = 0
    found = measured(x, (u * without) @ vt)
    return [{"measure": key, "closed": float(closed[key]), "measured": float(found[key])} for key in closed]


def lost(n: int, d: int, bits: int, smallest: float, rng: np.random.Generator) -> tuple[float, float]:
    """a, and 1 - EOS, of one table of uniform entries."""
    x = rng.uniform(-1, 1, (n, d)) / np.sqrt(d) * np.geomspace(1, smallest, d)
    a = np.linalg.svd(x, compute_uv=False)[-1] / np.sqrt(n / d)
    return float(a), 1 - measured(x, quantized(x, bits, float(np.abs(x).max()), rng))["eos"]


def figure_4() -> dict[str, list[dict[str, float]]]:
    """What moves -> its values, each with a, the mean of 1 - EOS, and the bound of Theorem 3."""
    drawn: dict[str, Callable[[float, np.random.Generator], tuple[float, float]]] = {
        "b": lambda value, rng: lost(ROWS, COLUMNS, int(value), 1, rng),
        "a": lambda value, rng: lost(ROWS, COLUMNS, WIDTH, value, rng),
        "n": lambda value, rng: lost(int(value), COLUMNS, WIDTH, 1, rng),
        "d": lambda value, rng: lost(ROWS, int(value), WIDTH, 1, rng),
    }
    found: dict[str, list[dict[str, float]]] = {}
    for name, values in MOVED.items():
        found[name] = []
        for value in values:
            a, loss = np.mean([drawn[name](value, np.random.default_rng(seed)) for seed in range(DRAWS)], axis=0)
            bound = 20 / ((2 ** (value if name == "b" else WIDTH) - 1) ** 2 * a**4)
            found[name].append({"value": value, "a": float(a), "lost": float(loss), "bound": float(bound)})
    return found


def figure_5(x: np.ndarray) -> list[dict[str, Any]]:
    """A row a width and a way of rounding: 1 - EOS, and the relative error, at each threshold."""
    largest = float(np.abs(x).max())
    rows = []
    for bits in BITS:
        for rounding in ("nearest", "stochastic"):
            rng = None if rounding == "nearest" else np.random.default_rng(0)
            each = [measured(x, quantized(x, bits, clip * largest, rng)) for clip in CLIPS]
            rows.append(
                {
                    "bits": bits,
                    "rounding": rounding,
                    "lost": [1 - scores["eos"] for scores in each],
                    "error": [scores["reconstruction_error_relative"] for scores in each],
                }
            )
    return rows


def theory(path: str) -> dict[str, Any]:
    """All three, of the table at `path`."""
    table = read_table(path)
    x = np.asarray(table.read(slice(0, table.n)), dtype=np.float64)
    return {
        "table": {"n": table.n, "d": table.d},
        "table_3": table_3(x),
        "figure_4": figure_4(),
        "figure_5": {"clips": CLIPS, "rows": figure_5(x)},
    }


if __name__ == "__main__":
    print(json.dumps(theory(sys.argv[1]), indent=1))
