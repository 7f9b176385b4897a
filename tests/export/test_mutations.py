"""Models with a few things changed at random are read, or refused in one short line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.export import Kept, VerificationError, embedding_table, rewrite_host
from tests.export.mutations import TABLE, mutated, seeds

SEEDS = seeds()
PAYLOAD = Uniform(4).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
KEPT = Kept(np.arange(20), remap=True, oov="zeros")

Read = Callable[[Path], object]


def read(path: Path) -> None:
    table = embedding_table(path)
    assert table.ndim == 2 and table.dtype in (np.float16, np.float32)


def rewrite(path: Path) -> None:
    for kept in (None, KEPT):
        try:
            rewrite_host(path, PAYLOAD, path.with_name("new.onnx"), tied="keep", kept=kept)
        except VerificationError as error:
            assert "\n" not in str(error)


def survives(data: bytes, folder: Path, reader: Read) -> None:
    path = folder / "f.onnx"
    path.write_bytes(data)
    (folder / "f.bin").write_bytes(bytes(480))
    try:
        reader(path)
    except ValueError as error:
        said = str(error)
        assert str(path) in said and "\n" not in said and len(said) < 300 + len(str(folder)), said


def check(folder: Path, reader: Read, examples: int) -> None:
    @settings(max_examples=examples, deadline=5000, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(st.sampled_from(range(len(SEEDS))), st.randoms(use_true_random=False))
    def law(seed: int, random: Random) -> None:
        survives(mutated(SEEDS[seed], random), folder, reader)

    law()


def test_a_changed_model_is_read_or_refused(tmp_path: Path) -> None:
    check(tmp_path, read, 250)


@pytest.mark.slow
@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize(("reader", "examples"), [(read, 5_000), (rewrite, 1_500)])
def test_many_changed_models(reader: Read, examples: int, tmp_path: Path) -> None:
    check(tmp_path, reader, examples)
