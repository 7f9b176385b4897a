"""Settings of all methods: what is refused, in one form of sentence; names; what a time limit makes of a method."""

from __future__ import annotations

import itertools
import re
import types
import typing
from dataclasses import fields
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import pytest

from eigenselect import compressors
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
    Given,
    Identity,
    KMeans,
    LeverageCode,
    LightToken,
    ProductQuantization,
    ResidualQuantization,
    Spectral,
    TransformCode,
    TrellisCode,
    Uniform,
)
from tests.cases import CASES, gaussian

READY = EmbeddingTable(gaussian(20, 5), [f"t{i}" for i in range(20)])

METHODS = [
    method
    for name in compressors.__all__
    if isinstance(method := getattr(compressors, name), type) and issubclass(method, Compressor)
    if method is not Compressor
]

VALID: dict[type[Compressor], list[dict[str, Any]]] = {
    Bands: [{"share": 0.5, "head": KMeans(3), "tail": KMeans(2)}],
    Blockwise: [{"bits": 4, "block": 16}],
    ByteCodebook: [{"bits": 2}],
    DCCL: [{"bits": 1}, {"books": 2, "learning_rate": 0.1}],
    ExactRows: [{"rows": (0, 1)}],
    Given: [{"label": "small", "table": READY}],
    Identity: [{}],
    KMeans: [{"bits": 2}],
    LeverageCode: [{"row": 2}],
    LightToken: [{}],
    PCA: [{"dim": 2}, {"rate": 2}],
    ProductQuantization: [{"pieces": 2}],
    ResidualQuantization: [{"books": 2}],
    Spectral: [{}],
    TTSVD: [{"rate": 2, "time_limit": 3}],
    TransformCode: [{"row": 2}],
    TrellisCode: [{"bits": 2}, {"row": 2}],
    Uniform: [{"bits": 2}],
}
"""Settings of every method, among which each of its fields is given once."""

VALUES = ["2", "true", "", 2, 2.0, True, None, float("nan"), [], [2], {"bits": 2}, b"2", np.ones(2), KMeans, Uniform(2)]


def _types(hint: Any) -> set[type]:
    """The types of the values that an annotation admits."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return set().union(*map(_types, typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return {str}
    found = typing.get_origin(hint) or hint
    return {int, float} if found is float else {tuple, list} if found is tuple else {found}


def _admits(hint: Any, value: object) -> bool:
    types_ = _types(hint)
    return value == value and (type(value) in types_ or (Compressor in types_ and isinstance(value, Compressor)))


@pytest.mark.parametrize(("method", "name"), [(method, field.name) for method in METHODS for field in fields(method)])  # type: ignore[arg-type]
def test_values_of_a_wrong_type_are_refused_in_one_form(method: type[Compressor], name: str) -> None:
    hint = typing.get_type_hints(method)[name]
    wrong = [value for value in VALUES if type(value) is np.ndarray or not _admits(hint, value)]
    assert len(wrong) > 10
    form = (
        rf"{method.__name__} ({name} (= .+|hold .+): (each )?must be .+|\w+ = .+: must be given, or {name} in its .+)"
    )
    for value, valid in itertools.product(wrong, VALID[method]):
        with pytest.raises(ValueError) as refusal:
            method(**valid | {name: value})
        assert re.fullmatch(form, str(refusal.value)), (refusal.value, value)


NUMBER = "must be a number"
COUNT = "must be an integer"
KEEPS = (
    "must be a method that keeps the columns it is given, as PCA does with keep_dimension=true; this one decodes to "
    "coordinates of its own"
)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        *((KMeans, {"bits": bits}, f"KMeans bits = {bits}: {COUNT} from 1 to 8") for bits in (0, 9, 2.5)),
        (Uniform, {"bits": 9}, f"Uniform bits = 9: {COUNT} from 1 to 8"),
        (Uniform, {"rounding": "up"}, "Uniform rounding = 'up': must be nearest or stochastic"),
        (Identity, {"dtype": "int8"}, "Identity dtype = 'int8': must be float32 or float16"),
        (Blockwise, {"bits": 3}, "Blockwise bits = 3: must be 2, 4 or 8"),
        (Blockwise, {"bits": 8, "scheme": "nf4"}, "Blockwise bits = 8: must be 4 with scheme = nf4"),
        (Blockwise, {"block": 16.5}, f"Blockwise block = 16.5: {COUNT} from 16 to 256; null is the whole row"),
        (Blockwise, {"block": 8}, f"Blockwise block = 8: {COUNT} from 16 to 256; null is the whole row"),
        (ByteCodebook, {"bits": 2.0}, "ByteCodebook bits = 2.0: must be 1, 2 or 4; at 8 use KMeans"),
        (TrellisCode, {"bits": 8}, f"TrellisCode bits = 8: {COUNT} from 1 to 7; at 8 use KMeans"),
        *((TrellisCode, {"window": w}, f"TrellisCode window = {w}: {COUNT} from 8 to 16") for w in (7, 17)),
        (TrellisCode, {"bits": None}, "TrellisCode bits = None: must be given, or row in its place; row = None"),
        (TransformCode, {"power": 3}, f"TransformCode power = 3: {NUMBER} of at least 0 and at most 2"),
        (LeverageCode, {"more": 0}, f"LeverageCode more = 0: {NUMBER} above 0 and at most 8"),
        (TrellisCode, {"bits": None, "row": 0}, f"TrellisCode row = 0: {COUNT} of at least 1"),
        (Spectral, {"matrix": 4}, "Spectral matrix = 4: must be a compressor; in a configuration one with a _target_"),
        (ProductQuantization, {"pieces": 0}, f"ProductQuantization pieces = 0: {COUNT} of at least 1"),
        (ProductQuantization, {"codewords": 3}, "codewords = 3: must be 2, 4, 8, 16, 32, 64, 128 or 256"),
        (ResidualQuantization, {"books": True}, f"ResidualQuantization books = True: {COUNT} of at least 1"),
        (ResidualQuantization, {"codewords": 512}, "codewords = 512: must be 2, 4, 8, 16, 32, 64, 128 or 256"),
        (DCCL, {"bits": None}, "DCCL bits = None: must be given, or books in its place; books = None"),
        (DCCL, {"books": 2}, "DCCL bits = 1: must be given, or books in its place; books = 2"),
        (DCCL, {"bits": 0}, f"DCCL bits = 0: {NUMBER} above 0 and at most 32"),
        (DCCL, {"bits": None, "books": 0}, f"DCCL books = 0: {COUNT} of at least 1"),
        (DCCL, {"training": "adam"}, "DCCL training = 'adam': must be residual or gumbel"),
        (DCCL, {"learning_rate": 1}, f"DCCL learning_rate = 1: {NUMBER} above 0 and below 1"),
        (DCCL, {"epochs": 0}, f"DCCL epochs = 0: {COUNT} of at least 1"),
        (DCCL, {"time_limit": -1}, "DCCL time_limit = -1: must be seconds of at least 0; null is no limit"),
        (PCA, {"dim": None}, "PCA dim = None: must be given, or rate in its place; rate = None"),
        (PCA, {"rate": 2.0}, "PCA dim = 2: must be given, or rate in its place; rate = 2.0"),
        (PCA, {"dim": 0}, f"PCA dim = 0: {COUNT} of at least 1"),
        (PCA, {"dim": None, "rate": "2"}, f"PCA rate = '2': {NUMBER} of at least 1"),
        (PCA, {"dim": None, "rate": 0.5}, f"PCA rate = 0.5: {NUMBER} of at least 1"),
        (PCA, {"dim": None, "rate": float("inf")}, f"PCA rate = inf: {NUMBER} of at least 1"),
        (PCA, {"dim": None, "rate": 10**400}, f"{NUMBER} of at least 1"),
        (PCA, {"then": 3}, "PCA then = 3: must be a compressor; in a configuration one with a _target_"),
        (Spectral, {"whitening": "0.5"}, f"Spectral whitening = '0.5': {NUMBER} of at least 0 and at most 1"),
        (Spectral, {"whitening": 1.5}, f"Spectral whitening = 1.5: {NUMBER} of at least 0 and at most 1"),
        (Spectral, {"norm": "int4"}, "Spectral norm = 'int4': must be float16, uint8, uint2 or none"),
        (Spectral, {"fold": "yes"}, "Spectral fold = 'yes': must be true or false"),
        *((Bands, {"share": s}, f"Bands share = {s}: {NUMBER} above 0 and below 1") for s in (0, 1, -0.1, 1.5)),
        (Bands, {"by": "frequency"}, "Bands by = 'frequency': must be order or counts"),
        (Given, {"label": ""}, "Given label = '': must be a word that names the candidate"),
        (TTSVD, {"rate": 0.5}, f"TTSVD rate = 0.5: {NUMBER} of at least 1"),
        (TTSVD, {"cores": 5}, "TTSVD cores = 5: must be 2, 3 or 4"),
        (TTSVD, {"sweeps": -1}, f"TTSVD sweeps = -1: {COUNT} of at least 0"),
        (LightToken, {"rate": 0.5}, f"LightToken rate = 0.5: {NUMBER} of at least 1"),
        (LightToken, {"dim": -1}, f"LightToken dim = -1: {COUNT} of at least 0"),
        (LightToken, {"stages": 0}, f"LightToken stages = 0: {COUNT} of at least 1"),
        (LightToken, {"alpha": 0.9}, f"LightToken alpha = 0.9: {NUMBER} of at least 1"),
        (LightToken, {"steps": -1}, f"LightToken steps = -1: {COUNT} of at least 0"),
        (LightToken, {"learning_rate": -0.1}, f"LightToken learning_rate = -0.1: {NUMBER} of at least 0"),
        # What decodes to coordinates of its own is refused before any work, wherever it is given.
        (PCA, {"then": PCA(dim=1)}, f"PCA then = pca-k1: {KEEPS}"),
        (PCA, {"keep_dimension": True, "then": PCA(dim=1)}, f"PCA then = pca-k1: {KEEPS}"),
        (Spectral, {"then": Given("a", READY)}, f"Spectral then = given-a: {KEEPS}"),
        (Given, {"then": Given("a", READY)}, f"Given then = given-a: {KEEPS}"),
        (ExactRows, {"then": Spectral(fold=True)}, f"ExactRows then = spectral0.5-fold-codebook-b2: {KEEPS}"),
        (Bands, {"head": PCA(dim=2)}, f"Bands head = pca-k2: {KEEPS}"),
        (Bands, {"tail": PCA(rate=2)}, f"Bands tail = pca-2x: {KEEPS}"),
    ],
)
def test_values_out_of_range_are_refused(method: type[Compressor], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        method(**VALID[method][0] | settings)


# --- names ------------------------------------------------------------------------------------------------------------

OTHERS: dict[type[Compressor], dict[str, list[Any]]] = {
    Blockwise: {"bits": [2, 8], "scheme": ["minmax", "nf4"], "block": [None, 17], "scales": ["float32"]},
    ByteCodebook: {"bits": [1, 4]},
    DCCL: {
        "bits": [1.0000001, 2],
        "codewords": [4],
        "training": ["gumbel"],
        "learning_rate": [0.1, 0.1000001],
        "epochs": [3],
        "time_limit": [None, 7, 7.5],
    },
    Identity: {"dtype": ["float16"]},
    KMeans: {"bits": [3]},
    LightToken: {
        "rate": [25.000001],
        "dim": [0],
        "stages": [1],
        "alpha": [1, 1.5000001],
        "steps": [0],
        "learning_rate": [0, 1e-7],
        "refinements": [0],
        "time_limit": [None, 7],
    },
    ProductQuantization: {"pieces": [3], "codewords": [16]},
    ResidualQuantization: {"books": [3], "codewords": [16]},
    TTSVD: {"rate": [2.0000001], "cores": [2], "sweeps": [1], "time_limit": [None, 3.0000001]},
    TrellisCode: {"bits": [1], "window": [8], "row": [3]},
    Uniform: {"bits": [3], "rounding": ["stochastic"]},
}
"""Other values for the settings of a method that hands work to no other one."""


def _made(method: type[Compressor], settings: dict[str, Any]) -> list[Compressor]:
    """The method, if it takes these settings."""
    try:
        return [method(**settings)]
    except ValueError:
        return []


def _around(inner: list[Compressor]) -> list[Compressor]:
    """Every wrapper, with different settings, around each of some methods."""
    rows = [(0,), (5,), (0, 5), (1, 2, 3, 4, 5), (1, 2, 3, 4, 6), tuple(range(500))]
    return [
        *(ExactRows(some, then) for some in rows for then in inner),
        *(PCA(dim=dim, keep_dimension=True, then=then) for dim in (2, 3) for then in inner),
        *(PCA(rate=rate, keep_dimension=True, then=then) for rate in (2, 2.0000001) for then in inner),
        *(Spectral(whitening, "uint8", then) for whitening in (0.5, 0.50000001) for then in inner),
        *(Bands(share, *both) for share in (0.1, 0.10000001) for both in itertools.product(inner, repeat=2)),
        *(Bands(0.1, *both, by="counts") for both in itertools.product(inner, repeat=2)),
    ]


def _plain() -> list[Compressor]:
    """Every method that hands work to no other one, with the product of its other settings."""
    found = []
    for method, others in OTHERS.items():
        choices = [[{}, *({name: value} for value in values)] for name, values in others.items()]
        for chosen in itertools.product(*choices):
            found += _made(method, reduce(or_, chosen, VALID[method][0]))
    return found


def test_other_settings_have_another_name() -> None:
    wrapped = _around([Uniform(2), Uniform(2, "stochastic"), Identity()])
    kept = [PCA(dim=dim, keep_dimension=True) for dim in (2, 3)]
    twice = _around([*kept, ExactRows((0,), Uniform(2)), Bands(0.1, *wrapped[:2]), Uniform(2)])
    own = [Given("a", READY), Given("b", READY), Given("a", READY, Uniform(2)), PCA(dim=2), PCA(rate=2)]
    named: dict[str, Compressor] = {}
    for compressor in (*_plain(), *wrapped, *twice, *own, *(case.compressor for case in CASES)):
        assert named.setdefault(compressor.name, compressor) == compressor, compressor.name
        assert len(compressor.name) < 160 and re.fullmatch(r"[\w.+()-]+", compressor.name)
    assert len(named) > 1000


def test_names_by_hand() -> None:
    assert ExactRows((5,), Uniform(2)).name == "exact5-uniform-b2"
    assert re.fullmatch(r"exact500rows-[0-9a-f]{8}-uniform-b2", ExactRows(tuple(range(500)), Uniform(2)).name)
    assert Bands(0.1, KMeans(3), KMeans(2), by="counts").name == "bands0.1-counts-kmeans-b3-kmeans-b2"
    assert Bands(0.5, Spectral(then=KMeans(4)), KMeans(1)).name == "bands0.5-(spectral0.5-kmeans-b4)-kmeans-b1"
    assert PCA(rate=3).name == "pca-3x" and PCA(rate=1.5).name == "pca-1.5x"


# --- time limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: Spectral(then=Bands(0.1, KMeans(2), inner))])
def test_a_time_limit_anywhere_inside_makes_bytes_irreproducible(wrap: Any) -> None:
    for method, settings in ((DCCL, {"books": 2}), (LightToken, {}), (TTSVD, {"rate": 2})):
        assert not wrap(method(**settings | {"time_limit": 3})).reproducible
        assert wrap(method(**settings | {"time_limit": None})).reproducible


def test_what_has_no_time_limit_is_reproducible() -> None:
    assert all(case.compressor.reproducible for case in CASES)
