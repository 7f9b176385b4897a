"""The one list of (compressor, what it promises) that the laws are checked on, and the tables they are checked with.

To add a method: construct it here, once for each of its ways of working, and say what it promises beyond the laws that
hold for every method (the fields of `Case`). `tests/test_laws.py` then checks it on every table; nothing else changes.
What only this method does (an optimum, a formula) belongs in `tests/compressors/test_<method>.py`.

To add a table: add it to `TABLES`. It needs at least six columns, the most that a case asks for.

What depends on a payload alone (its file, graph or module) and not on the method that made it is checked on `forms()`:
one case for each payload kind in each place and for each operator, derived from the payloads and their graphs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from eigenselect.compressors import (
    DCCL,
    PCA,
    TTSVD,
    Bands,
    Blockwise,
    ByteCodebook,
    Compressor,
    EmbeddingTable,
    ExactRows,
    Identity,
    KMeans,
    LeverageCode,
    LightToken,
    Payload,
    ProductQuantization,
    ResidualQuantization,
    Spectral,
    TransformCode,
    TrellisCode,
    Uniform,
)


@dataclass(frozen=True)
class Case:
    """A compressor and its promises.

    Attributes:
        compressor: the method with its settings.
        parity: how numpy, torch and ONNX Runtime agree: to the `bit`, or as a `sum` of products may be rounded.
        keeps_dimension: decodes to the table's d columns.
        lossless: decodes to the table's own entries, to float32 rounding.
        random: another seed may give other bytes; without it no seed may matter.
        one_pass: no float sum over rows decides a code, so that the size of a block cannot matter to the bit.
        largest: no table with a larger entry is accepted.
        joint: rows are approximated together, so that the table's norm bounds an entry and the longest row's does not.
        family: cases of one family, in the order of their bits, never get worse at reconstruction.
    """

    compressor: Compressor
    parity: Literal["bit", "sum"] = "bit"
    keeps_dimension: bool = True
    lossless: bool = False
    random: bool = False
    one_pass: bool = True
    largest: float = np.inf
    joint: bool = False
    family: str | None = None

    @property
    def id(self) -> str:
        return self.compressor.name


def _light_token(**settings: int | float) -> Case:
    few = {"rate": 2.2, "stages": 4, "steps": 3, "refinements": 1, "time_limit": None}
    return Case(LightToken(**few | settings), parity="sum", random=True, one_pass=False)


def _pca(compressor: PCA, *, random: bool = False) -> Case:
    return Case(
        compressor,
        parity="sum" if compressor.keep_dimension else "bit",
        keeps_dimension=compressor.keep_dimension,
        lossless=compressor == PCA(rate=1, keep_dimension=True),
        random=random,
        one_pass=False,
        largest=65504 if compressor.then == Identity("float16") else np.inf,
    )


CASES: list[Case] = [
    Case(Identity("float32"), lossless=True),
    Case(Identity("float16"), largest=65504),
    *(Case(Uniform(bits), family="uniform") for bits in range(1, 9)),
    *(Case(Uniform(bits, "stochastic"), random=True) for bits in (1, 2, 3)),
    *(Case(KMeans(bits), family="kmeans") for bits in range(1, 9)),
    _pca(PCA(dim=1)),
    _pca(PCA(dim=5)),
    _pca(PCA(rate=3)),
    _pca(PCA(dim=5, keep_dimension=True)),
    _pca(PCA(rate=1, keep_dimension=True)),
    _pca(PCA(dim=5, then=Identity("float16"))),
    _pca(PCA(dim=5, then=Uniform(4))),
    _pca(PCA(dim=5, then=Uniform(3))),
    _pca(PCA(dim=6, then=KMeans(7))),
    _pca(PCA(dim=5, then=Uniform(2, "stochastic")), random=True),
    _pca(PCA(dim=6, keep_dimension=True, then=Uniform(4))),
    _pca(PCA(dim=5, keep_dimension=True, then=Uniform(7))),
    _pca(PCA(dim=5, keep_dimension=True, then=KMeans(2))),
    _pca(PCA(dim=5, keep_dimension=True, then=KMeans(3))),
    _pca(PCA(dim=6, keep_dimension=True, then=PCA(dim=4, keep_dimension=True, then=Uniform(8)))),
    *(Case(Blockwise(bits), family="row-absmax") for bits in (2, 4, 8)),
    *(Case(Blockwise(bits, "minmax", scales="float32")) for bits in (2, 4, 8)),
    *(Case(Blockwise(4, scheme, block=16, scales="float32")) for scheme in ("absmax", "minmax", "nf4")),
    Case(Spectral(then=Blockwise(4, "nf4", block=16)), parity="sum", random=True, one_pass=False),
    *(Case(ByteCodebook(bits), random=True) for bits in (1, 2, 4)),
    *(Case(Spectral(then=ByteCodebook(bits)), parity="sum", random=True, one_pass=False) for bits in (1, 2, 4)),
    *(Case(TrellisCode(bits, window=8), random=True) for bits in (1, 2, 3, 4, 7)),
    *(Case(Spectral(then=TrellisCode(bits, window=9)), parity="sum", random=True, one_pass=False) for bits in (1, 2)),
    *(Case(TrellisCode(window=8, row=row), random=True) for row in (1, 4)),
    Case(
        Spectral(norm="uint2", matrix=KMeans(4), then=TrellisCode(window=9, row=3)),
        parity="sum",
        random=True,
        one_pass=False,
    ),
    *(
        Case(TransformCode(3, power, 9, matrix), parity="sum", random=True, one_pass=False)
        for power, matrix in ((1, Identity("float16")), (2, KMeans(4)))
    ),
    *(Case(ProductQuantization(pieces, codewords), random=True) for pieces, codewords in ((3, 16), (5, 8), (2, 256))),
    Case(Spectral(then=ProductQuantization(4, 16)), parity="sum", random=True, one_pass=False),
    *(
        Case(ResidualQuantization(books, codewords), "sum", random=True, joint=True)
        for books, codewords in ((4, 4), (3, 8))
    ),
    Case(DCCL(bits=4, codewords=4, time_limit=None), parity="sum", random=True, one_pass=False, joint=True),
    Case(DCCL(books=3, codewords=2, time_limit=None), parity="sum", random=True, one_pass=False, joint=True),
    Case(
        DCCL(books=4, codewords=4, training="gumbel", learning_rate=0.01, epochs=2, time_limit=None),
        parity="sum",
        random=True,
        one_pass=False,
        joint=True,
    ),
    Case(Spectral(whitening=0, norm="uint8", then=KMeans(3)), parity="sum", random=True, one_pass=False),
    Case(Bands(0.1, Identity("float16"), Uniform(2)), largest=65504),
    Case(Bands(0.3, KMeans(3), Bands(0.5, KMeans(2), Uniform(1)))),
    Case(Bands(0.5, ByteCodebook(4), Blockwise(2)), random=True),
    *(
        Case(compressor, parity="sum", random=True, one_pass=False)
        for compressor in (
            Spectral(then=Bands(0.1, ByteCodebook(4), ByteCodebook(1))),
            Bands(0.5, Spectral(then=KMeans(4)), PCA(dim=5, keep_dimension=True)),
        )
    ),
    Case(LeverageCode(4, 0.3, window=8), random=True, one_pass=False),
    Case(Spectral(norm="uint2", then=LeverageCode(3, window=9)), parity="sum", random=True, one_pass=False),
    Case(ExactRows((0,), Uniform(1)), largest=65504),
    Case(ExactRows((3, 11), KMeans(3)), largest=65504),
    Case(Spectral(then=ExactRows((0, 4), ByteCodebook(4))), parity="sum", random=True, one_pass=False, largest=65504),
    Case(ExactRows((1, 2), PCA(dim=5, keep_dimension=True)), parity="sum", largest=65504, one_pass=False),
    Case(Spectral(whitening=1, norm="none", then=KMeans(2)), parity="sum", random=True, one_pass=False),
    *(Case(TTSVD(rate=2, cores=cores), parity="sum", one_pass=False, joint=True) for cores in (2, 3, 4)),
    Case(TTSVD(rate=3, sweeps=2), parity="sum", one_pass=False, joint=True),
    _light_token(),
    _light_token(rate=2.7, dim=0),
    _light_token(rate=1.8, dim=2, stages=11, refinements=0),
]

FAMILIES: dict[str, list[Case]] = {
    str(family): list(cases) for family, cases in itertools.groupby(CASES, lambda case: case.family) if family
}


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32: correlated columns of standard deviations from 0.2 to 2."""
    rng = np.random.default_rng(seed)
    mixing, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return (rng.standard_normal((n, d)) * np.linspace(0.2, 2, d) @ mixing).astype(np.float32)


def _zero_row_constant_column() -> np.ndarray:
    table = gaussian(200, 9, seed=1)
    table[:, 4] = 0.25
    table[17] = 0
    return table


def _duplicated_column() -> np.ndarray:
    table = gaussian(200, 10, seed=2)
    table[:, 7] = table[:, 3]
    return table


TABLES: dict[str, EmbeddingTable] = {
    name: EmbeddingTable(vectors)
    for name, vectors in {
        "gaussian": gaussian(300, 13),
        "half": gaussian(300, 13, seed=3).astype(np.float16),
        "zero-row-constant-column": _zero_row_constant_column(),
        "duplicated-column": _duplicated_column(),
        "all-zero": np.zeros((50, 6), np.float32),
        "square": gaussian(12, 12, seed=4),
        "scale-1e-30": gaussian(100, 11, seed=5) * np.float32(1e-30),
        "scale-1e30": gaussian(100, 11, seed=6) * np.float32(1e30),
        "mixed-scales": gaussian(100, 8, seed=7) * np.logspace(-20, 20, 8, dtype=np.float32),
    }.items()
}


ON_TABLES: list[tuple[Case, str]] = [
    (case, name) for case in CASES for name, table in TABLES.items() if table.abs_max <= case.largest
]


def compress(case: Case, table: EmbeddingTable, seed: int = 0) -> Payload:
    """The case's payload of a table, from a generator seeded with `seed`."""
    return case.compressor.compress(table, np.random.default_rng(seed))


@cache
def payload_of(case: Case, table: str) -> Payload:
    """The case's payload of a named table with seed 0, made once."""
    return compress(case, TABLES[table])


def decode(payload: Payload) -> np.ndarray:
    """All rows, (n, k) float32."""
    return payload.read(slice(0, payload.n))


def _nestings(spec: dict[str, Any], inside: str | None = None) -> Iterator[tuple[str | None, str]]:
    """Each payload kind of a stored description, with the kind it is inside of."""
    yield inside, spec["kind"]
    for part in spec.values():
        if isinstance(part, dict):
            yield from _nestings(part, spec["kind"])


def _features(payload: Payload) -> set[object]:
    """What a decode can be made of: nested kinds, arrays' types, and for each target operators and lookup tables."""
    found: set[object] = {*_nestings(payload._spec())}
    from eigenselect.export import to_onnx  # here: the laws of numbers need no ONNX Runtime

    found |= {(name.rsplit(".", 1)[-1], array.dtype.str) for name, array in payload.arrays().items()}
    for target in ("portable", "cpu"):
        graph = to_onnx(payload, target=target).graph
        found |= {(target, node.domain, node.op_type) for node in graph.node}
        found |= {(target, *tensor.dims) for tensor in graph.initializer if tensor.name.endswith("lut")}
    return found


@cache
def forms() -> list[Case]:
    """The cases whose payload has something that none before it has. Made on call: it compresses a table by all."""
    seen: set[object] = set()
    found = []
    for case in CASES:
        features = _features(payload_of(case, "gaussian"))
        if not features <= seen:
            found.append(case)
            seen |= features
    return found
