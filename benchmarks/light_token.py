"""What the parts of LightToken do: one setting at a time changed, at the same compression rate.

    python benchmarks/light_token.py TABLE                # any table that the command reads
    python benchmarks/light_token.py TABLE --rate 16

Recorded in benchmarks/light_token.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from eigenselect.compressors import LightToken
from eigenselect.compressors.methods import light_token
from eigenselect.compressors.methods.light_token.autoencoder import Stage
from eigenselect.selector.measures import score
from eigenselect.selector.sources import read_table

CHANGES: dict[str, dict[str, float]] = {
    "default": {},
    "loss: alpha 1 (squared distance)": {"alpha": 1},
    "loss: alpha 3": {"alpha": 3},
    "training: none (rotated PCA)": {"steps": 0},
    "training: 2000 steps": {"steps": 2000},
    "stages: 1": {"stages": 1},
    "stages: 2": {"stages": 2},
    "stages: 8": {"stages": 8},
    "SVD: none": {"dim": 0},
    "SVD: k = 2": {"dim": 2},
    "SVD: k = 4": {"dim": 4},
    "SVD: k = 8": {"dim": 8},
    "no bit flips": {"refinements": 0},
    "no bit flips, decoder of each stage refitted alone": {"refinements": 0},
    "no bit flips, decoder as trained, no refit": {"refinements": 0},
    "no bit flips, no training": {"refinements": 0, "steps": 0},
}


class Kept(Stage):
    """A stage whose decoder stays as it is."""

    def fitted(self, left: np.ndarray) -> Stage:
        return self


@contextmanager
def patched(name: str) -> Iterator[None]:
    """The method without its joint refit, or without any refit, where the name of the row says so."""
    train, all_codes, solve = light_token.train, light_token.all_codes, light_token.solve
    found: list[Stage] = []

    def remember(stages: list[Stage], left: np.ndarray) -> np.ndarray:
        found[:] = stages
        return all_codes(stages, left)

    if "refit" in name:
        light_token.all_codes = remember
        light_token.solve = lambda sums: np.concatenate([stage.decoder for stage in found])
    if "no refit" in name:
        light_token.train = lambda *given: Kept(*train(*given))
    try:
        yield
    finally:
        light_token.train, light_token.all_codes, light_token.solve = train, all_codes, solve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--rate", type=float, default=25)
    args = parser.parse_args()
    table = read_table(args.table)
    print(f"{table.n} x {table.d} at rate {args.rate:g}: at most {4 * table.n * table.d / args.rate:.0f} bytes\n")
    print("| changed | bits | bytes | EOS | relative error | mean cosine | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, change in CHANGES.items():
        method = LightToken(**{"rate": args.rate, "time_limit": None} | change)
        with patched(name):
            start = time.process_time()
            payload = method.compress(table, np.random.default_rng(0))
            seconds = time.process_time() - start
        found = score(table, payload)
        print(
            f"| {name} | {method.bits(table.n, table.d)} | {payload.nbytes} | {found['eos']:.4f} "
            f"| {found['reconstruction_error_relative']:.4f} | {found['mean_cosine']:.4f} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
