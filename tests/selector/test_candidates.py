"""Pools of candidates: products of lists, and errors that name the entry."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from eigenselect.compressors import (
    PCA,
    TTSVD,
    Compressor,
    EmbeddingTable,
    ExactRows,
    Given,
    Identity,
    KMeans,
    ProductQuantization,
    Spectral,
    Uniform,
)
from eigenselect.compressors.plugins import load_plugins
from eigenselect.selector import sources
from eigenselect.selector.pool.candidates import (
    Room,
    _alternatives,
    check_settings,
    exact_rows,
    expand,
    parameters,
    rebuilt,
)
from tests.cases import CASES

pytestmark = pytest.mark.quick

UNIFORM = {"_target_": "eigenselect.compressors.Uniform"}
KMEANS = {"_target_": "eigenselect.compressors.KMeans"}
IDENTITY = {"_target_": "eigenselect.compressors.Identity"}
EXACT = {"_target_": "eigenselect.compressors.ExactRows"}
PRINCIPAL = {"_target_": "eigenselect.compressors.PCA"}
READ = {"_target_": "eigenselect.selector.sources.read_table", "path": "/nowhere"}
GIVEN = {"_target_": "eigenselect.compressors.Given", "label": "x"}


def test_an_entry_without_lists_is_one_candidate():
    assert expand({"a": {**UNIFORM, "bits": 4}}) == [Uniform(4)]


def test_lists_are_multiplied_out_in_order():
    pool = {"a": {**UNIFORM, "bits": [1, 2], "rounding": ["nearest", "stochastic"]}, "b": {**KMEANS, "bits": [3]}}
    assert expand(pool) == [
        Uniform(1, "nearest"),
        Uniform(1, "stochastic"),
        Uniform(2, "nearest"),
        Uniform(2, "stochastic"),
        KMeans(3),
    ]


def test_nested_settings_and_lists_of_objects_are_alternatives_too():
    then = [{**KMEANS, "bits": [2, 4]}, IDENTITY]
    made = expand({"a": {**PRINCIPAL, "rate": [2, 3], "keep_dimension": True, "then": then}})
    inner = [KMeans(2), KMeans(4), Identity()]
    assert made == [PCA(rate=rate, keep_dimension=True, then=each) for rate in (2, 3) for each in inner]


def test_a_list_inside_a_list_is_one_value():
    settings = {**EXACT, "rows": [[0, 1]], "then": {**UNIFORM, "bits": [1, 2]}}
    assert expand({"a": settings}) == [ExactRows((0, 1), Uniform(1)), ExactRows((0, 1), Uniform(2))]
    settings |= {"rows": [[3], [0, 1]], "then": {**UNIFORM, "bits": 4}}
    assert expand({"a": settings}) == [ExactRows((3,), Uniform(4)), ExactRows((0, 1), Uniform(4))]


def test_values_that_are_lists_nest_and_hold_alternatives_of_their_own():
    assert _alternatives({"a": [[1, [2, 3]], [], 4]}) == [{"a": (1, (2, 3))}, {"a": ()}, {"a": 4}]
    assert _alternatives([[{"a": [1, 2]}, {"b": [[3, 4], 5]}]]) == [
        ({"a": a}, {"b": b}) for a in (1, 2) for b in ((3, 4), 5)
    ]


def test_lists_multiply_out_at_any_depth():
    inner = [{**PRINCIPAL, "rate": [2, 3], "keep_dimension": True, "then": {**UNIFORM, "bits": [1, 2]}}, IDENTITY]
    made = expand(
        {"a": [{**EXACT, "rows": [[0]], "then": {"_target_": "eigenselect.compressors.Spectral", "then": inner}}]}
    )
    thens = [PCA(rate=r, keep_dimension=True, then=Uniform(b)) for r in (2, 3) for b in (1, 2)]
    assert made == [ExactRows((0,), Spectral(then=then)) for then in [*thens, Identity()]]


def test_an_entry_may_itself_be_a_list():
    assert expand({"a": [{**UNIFORM, "bits": 1}, {**KMEANS, "bits": [1, 2]}]}) == [Uniform(1), KMeans(1), KMeans(2)]


def test_null_is_a_value():
    assert expand({"a": {**PRINCIPAL, "dim": None, "rate": 2}}) == [PCA(rate=2)]


@pytest.mark.parametrize("pool", [{}, {"a": {**UNIFORM, "bits": []}}, {"a": []}])
def test_an_empty_pool_is_refused(pool):
    with pytest.raises(ValueError, match="the candidates' pool is empty: name at least one compressor"):
        expand(pool)


@pytest.mark.parametrize("bits", [[4, 4], [4, 2, 4]])
def test_a_candidate_named_twice_is_refused(bits):
    with pytest.raises(ValueError, match=r"^candidates\.pool\.a makes uniform-b4 a second time: drop one of the two$"):
        expand({"a": {**UNIFORM, "bits": bits}})


def test_the_second_of_two_entries_is_named():
    with pytest.raises(ValueError, match=r"^candidates\.pool\.second makes uniform-b4 a second time"):
        expand({"first": {**UNIFORM, "bits": 4}, "second": {**UNIFORM, "bits": [2, 4]}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**UNIFORM, "bitz": 4}, r"Uniform has no setting bitz: did you mean bits\?"),
        ({**PRINCIPAL, "rate": 2, "then": {**UNIFORM, "bitz": 4}}, r"Uniform has no setting bitz: did you mean bits\?"),
        ({**UNIFORM, "colour": 4}, r"Uniform has no setting colour: there are bits, rounding"),
        (UNIFORM, r".*missing 1 required positional argument: 'bits'"),
        ({**UNIFORM, "bits": 9}, r"Uniform bits = 9: must be an integer from 1 to 8"),
        ({**UNIFORM, "bits": [4, 9]}, r"Uniform bits = 9: must be an integer from 1 to 8"),
        ({**UNIFORM, "bits": 4, "rounding": "up"}, r"Uniform rounding = 'up': must be nearest or stochastic"),
        (EXACT, r".*missing 1 required positional argument: 'rows'"),
        ({**EXACT, "rows": [0, 1]}, r"ExactRows rows = 0: must be a list of at least one id; in a pool \[\[0, 1\]\]"),
        (PRINCIPAL, r"PCA dim = None: must be given, or rate in its place"),
        (
            {"_target_": "eigenselect.compressors.Unifrom", "bits": 4},
            r"_target_ = '.*\.Unifrom' is not there: did you mean eigenselect\.compressors\.Uniform\?",
        ),
        (
            {"_target_": "nowhere.Mine"},
            r"_target_ = 'nowhere\.Mine' cannot be imported \(ModuleNotFoundError: No module",
        ),
        ({"_target_": 3}, r"_target_ = 3 cannot be imported"),
        (
            {"_target_": "os.system", "command": "true"},
            r"_target_ = 'os\.system' is not called: it must name a Compressor",
        ),
        (
            {**PRINCIPAL, "rate": 2, "then": {"_target_": "builtins.print"}},
            r"_target_ = 'builtins\.print' is not called",
        ),
        ({**UNIFORM, "_args_": [4]}, r"Uniform has no setting _args_: there are bits, rounding"),
        ({**UNIFORM, "bits": 4, "_partial_": True}, r"Uniform has no setting _partial_"),
        (
            {**UNIFORM, "bits": {**UNIFORM, "bits": 4}},
            r"_target_ = '\S+\.Uniform' is not called: its place takes a plain",
        ),
        ({**UNIFORM, "bits": {"x": READ}}, r"_target_ = '\S+read_table' is not called: its place takes a plain value"),
        (READ, r"_target_ = '\S+read_table' is not called: its place takes a Compressor$"),
        ({**PRINCIPAL, "rate": 2, "then": READ}, r"_target_ = '\S+read_table' is not called: its place takes a Comp"),
        ({**GIVEN, "table": {**UNIFORM, "bits": 4}}, r"_target_ = '\S+' is not called: its place takes a EmbeddingT"),
        (
            {**GIVEN, "table": {**READ, "path": READ}},
            r"_target_ = '\S+read_table' is not called: its place takes a plain",
        ),
        ({"_target_": "antigravity.Mine"}, r"_target_ = 'antigravity\.Mine' is not called: it must name a Compressor"),
        ({"_target_": "hypothesis.extra.cli.x"}, r"_target_ = 'hypothesis\.extra\.cli\.x' is not called"),
    ],
)
def test_an_entry_that_cannot_be_built_is_named_with_the_reason(settings, message):
    with pytest.raises(ValueError, match=rf"^candidates\.pool\.mine: {message}"):
        expand({"mine": settings})


def test_nothing_is_imported_or_called_for_a_target_of_something_else(monkeypatch):
    called = []
    monkeypatch.setattr(sources, "read_table", lambda **given: called.append(given))
    for settings in ({**UNIFORM, "bits": READ}, {"_target_": "antigravity.fly"}, {"_target_": "setuptools.msvc.x"}):
        before = {*sys.modules}
        with pytest.raises(ValueError, match="is not called"):
            expand({"mine": settings})
        assert {*sys.modules} == before and not called


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"bits": 4}, "dict"),
        ("eigenselect.compressors.Uniform", "str"),
    ],
)
def test_a_target_that_is_no_compressor_is_refused(settings, kind):
    with pytest.raises(ValueError, match=rf"^candidates\.pool\.mine makes a {kind}: its _target_ must be a Compressor"):
        expand({"mine": settings})


@dataclass(frozen=True)
class Constant(Identity):
    """A method whose bytes do not depend on its setting."""

    size: int = 1


def test_settings_that_a_record_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"^\S+\.Outside then is a ndarray: it must be a number, a"):
        check_settings(PCA(dim=2, then=Outside(then=np.zeros(2))))
    with pytest.raises(ValueError, match=r"^candidates\.pool\.a: \S+\.Bare is not a dataclass: make it one"):
        expand({"a": {"_target_": f"{__name__}.Bare"}})


def test_a_number_that_nothing_depends_on_cannot_be_fitted():
    with pytest.raises(ValueError, match=r"^candidates\.pool\.a: float16 fits the budget with any fit: give a number"):
        expand({"a": {"_target_": f"{__name__}.Constant", "dtype": "float16", "size": "fit"}}, Room(1000, 20, 10**6))


def test_parameters_are_flat():
    assert parameters(Uniform(4)) == {"bits": 4, "rounding": "nearest"}
    assert parameters(PCA(rate=2, then=Uniform(4, "stochastic"))) == {
        "dim": None,
        "rate": 2,
        "keep_dimension": False,
        "then": "Uniform",
        "then.bits": 4,
        "then.rounding": "stochastic",
    }


TABLE = EmbeddingTable(np.zeros((4, 2), np.float32), ["[PAD]", "a", "0", "b"])


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [([], ()), ([3, 1], (1, 3)), (["b", "[PAD]"], (0, 3)), (["0"], (2,)), ([0, "[PAD]", "a", 0], (0, 1))],
)
def test_exact_rows_are_ids_and_tokens(wanted, rows):
    assert exact_rows(wanted, TABLE) == rows


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (0, r"exact_rows = 0: must be a list of ids and tokens, for example \[0,\"\[PAD\]\"\]"),
        ("a", r"exact_rows = 'a': must be a list"),
        (None, r"exact_rows = None: must be a list"),
        ([4], r"exact_rows holds 4: must be an id from 0 to 3, or a token in quotes"),
        ([-1], r"exact_rows holds -1: must be an id from 0 to 3"),
        ([1.5], r"exact_rows holds 1\.5: must be an id"),
        ([True], r"exact_rows holds True: must be an id"),
        ([[0, 1]], r"exact_rows holds \[0, 1\]: must be an id"),
        (["a", "A", "c"], r"exact_rows has 2 of 3 tokens that the table lacks \(first: 'A', 'c'\)"),
    ],
)
def test_exact_rows_that_the_table_does_not_have(wanted, message):
    with pytest.raises(ValueError, match=rf"^{message}"):
        exact_rows(wanted, TABLE)


def test_tokens_of_a_table_without_tokens():
    table = EmbeddingTable(TABLE.vectors)
    assert exact_rows([2], table) == (2,)
    with pytest.raises(
        ValueError, match=r"^exact_rows names 'a' and the table has no tokens: give them as table\.tokens"
    ):
        exact_rows([2, "a"], table)


ROOM = Room(n=1000, d=20, budget=10_000)
PRODUCT = {"_target_": "eigenselect.compressors.ProductQuantization", "codewords": 16}


def test_fit_is_the_largest_number_that_fits():
    (made,) = expand({"a": {**PRINCIPAL, "dim": "fit", "keep_dimension": True, "then": {**KMEANS, "bits": 8}}}, ROOM)
    # 1000 k bytes of codes, 1024 of levels, 80 k of directions
    assert made == PCA(dim=8, keep_dimension=True, then=KMeans(8))
    assert made.nbytes(1000, 20) <= 10_000 < PCA(dim=9, keep_dimension=True, then=KMeans(8)).nbytes(1000, 20)


def test_fit_ends_where_the_table_does():
    assert expand({"a": {**PRODUCT, "pieces": "fit"}}, Room(1000, 20, 10**9)) == [ProductQuantization(20, 16)]
    assert expand({"a": {**PRINCIPAL, "dim": "fit"}}, Room(1000, 20, 10**9)) == [PCA(dim=10)]  # float16 bytes


def test_fit_is_one_where_nothing_fits():
    assert expand({"a": {**PRODUCT, "pieces": "fit"}}, Room(1000, 20, 100)) == [ProductQuantization(1, 16)]


def test_budget_is_the_rate_that_it_amounts_to():
    train = {"_target_": "eigenselect.compressors.TTSVD", "rate": "budget"}
    (made,) = expand({"a": train}, ROOM)
    assert made == TTSVD(8.0)
    (made,) = expand({"a": train}, Room(1000, 20, 9_999))
    assert made == TTSVD(8.001) and made.nbytes(1000, 20) <= 9_999


def test_without_room_a_pool_with_markers_is_checked():
    assert expand({"a": {**PRODUCT, "pieces": "fit"}}) == [ProductQuantization(1, 16)]
    with pytest.raises(ValueError, match=r"^candidates\.pool\.a: ProductQuantization codewords = 3: must be"):
        expand({"a": {**PRODUCT, "pieces": "fit", "codewords": 3}})


def test_of_each_entry_the_largest_that_fit_are_taken():
    pool = {"u": {**UNIFORM, "bits": [1, 2, 3, 4, 5, 6]}, "k": {**KMEANS, "bits": [2, 6]}}
    made = expand(pool, ROOM, largest=2)
    # 1000 rows of 20 columns: b bits take 2500 b bytes and some hundreds
    assert made == [Uniform(3), Uniform(2), KMeans(2)]
    # Where nothing fits, the smallest says what would be needed.
    assert expand(pool, Room(1000, 20, 100), largest=2) == [Uniform(1), KMeans(2)]


def test_what_is_trained_on_top_needs_no_matrices():
    spectral = {"_target_": "eigenselect.compressors.Spectral", "then": {**KMEANS, "bits": [2, 4]}}
    pool = {"s": spectral, "p": {**PRINCIPAL, "dim": 5, "keep_dimension": [True, False]}, "u": {**UNIFORM, "bits": 2}}
    made = expand(pool, Room(1000, 20, 10**6, trained=True))
    assert made == [*(Spectral(then=KMeans(bits), fold=True) for bits in (2, 4)), PCA(dim=5), Uniform(2)]
    # The largest number that fits without a matrix.
    fit = {"a": {**PRINCIPAL, "dim": "fit", "keep_dimension": True, "then": {**KMEANS, "bits": 8}}}
    room = Room(1000, 20, 1000 * 9 + 1024)
    assert expand(fit, room) == [PCA(dim=8, keep_dimension=True, then=KMeans(8))]
    assert expand(fit, replace(room, trained=True)) == [PCA(dim=9, then=KMeans(8))]


def test_candidates_that_are_the_same_on_a_table_are_one():
    """Each case says the plainest settings that make the same; a pool holds each once, its own repetitions aside."""
    blocks = {"_target_": "eigenselect.compressors.Blockwise", "bits": [4, 8], "block": [32, None, 64]}
    narrow = expand({"a": blocks, "b": {**blocks, "bits": 4, "block": 16}}, Room(100, 10, 10**6))
    assert [each.name for each in narrow] == ["row-absmax-b4", "row-absmax-b8"]
    assert (
        len(expand({"a": blocks}, Room(100, 40, 10**6))) == 4 and len(expand({"a": blocks}, Room(100, 65, 10**6))) == 6
    )
    with pytest.raises(ValueError, match="a second time"):
        expand({"a": {**blocks, "bits": [4, 4], "block": None}}, Room(100, 10, 10**6))
    rates = {"a": {**PRINCIPAL, "rate": [1.25, 1.5, 6, 12]}, "b": {**PRINCIPAL, "dim": 1}}
    assert [each.name for each in expand(rates, Room(100, 8, 10**6))] == ["pca-1.25x", "pca-1.5x", "pca-6x"]
    assert len(expand(rates, Room(100, 50, 10**6))) == 5
    table = EmbeddingTable(np.random.default_rng(0).standard_normal((40, 10)).astype(np.float32))
    for case in CASES:
        plain = case.compressor.simplest(10)
        if plain is not case.compressor:
            made = [each.compress(table, np.random.default_rng(0)) for each in (case.compressor, plain)]
            assert made[0].nbytes == made[1].nbytes and np.array_equal(*map(np.asarray, made)), plain.name


def test_settings_that_cannot_be_used_are_reported_unless_they_are_the_only_ones():
    reasons: list[str] = []
    assert expand({"a": {**PRINCIPAL, "dim": [5, 21]}}, ROOM, report=reasons.append) == [PCA(dim=5)]
    assert reasons == ["pca-k21: PCA dim = 21: must be at most the table's dimension d = 20"]
    with pytest.raises(ValueError, match=r"dim = 21"):
        expand({"a": {**PRINCIPAL, "dim": 21}}, ROOM)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_compressor_is_built_again_from_its_recorded_parameters(case):
    recorded = json.loads(json.dumps(parameters(case.compressor)))
    assert rebuilt(type(case.compressor).__name__, recorded) == case.compressor


@dataclass(frozen=True)
class Outside(Identity):
    """A method from outside, of which one setting may be anything."""

    then: Any = None


@dataclass(frozen=True)
class Settingless(Compressor):
    """A method from outside without settings."""

    name = "settingless"
    nbytes = _compress = None


class Bare(Compressor):
    """A method from outside that is no dataclass."""

    name = "bare"
    nbytes = _compress = None


def test_a_method_from_outside_is_built_again_where_it_is_loaded():
    made = PCA(dim=2, then=Outside(then=Outside("float16")))
    recorded = json.loads(json.dumps(parameters(made)))
    assert recorded["then"] == recorded["then.then"] == f"{__name__}.Outside"
    assert rebuilt("PCA", recorded) == made
    empty = Outside(then=Settingless())
    assert rebuilt(f"{__name__}.Outside", parameters(empty)) == empty


def test_a_record_imports_nothing(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    for name in ("this", "this.Zen", "os.system"):
        with pytest.raises(ValueError, match=rf"^{name} is not a method of this program, nor of an installed package"):
            rebuilt(name, {})
    assert "this" not in sys.modules


def test_a_package_that_declares_itself_is_imported(tmp_path, monkeypatch):
    """What it holds is found from then on; one that cannot be imported is named."""
    declared = tmp_path / "declared-1.dist-info"
    declared.mkdir()
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 1\n")
    (declared / "entry_points.txt").write_text("[eigenselect]\nany = declared_methods\n")
    (tmp_path / "declared_methods.py").write_text(
        "from eigenselect import compressors\nclass Same(compressors.Identity): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins.cache_clear()
    assert type(rebuilt("declared_methods.Same", {"dtype": "float16"})).__name__ == "Same"
    (declared / "entry_points.txt").write_text("[eigenselect]\nany = declared_in_vain\n")
    load_plugins.cache_clear()
    with pytest.raises(ValueError, match=r"^declared_in_vain, which the installed package declared declares for eigen"):
        rebuilt("Uniform", {"bits": 2})


def test_what_cannot_be_built_again():
    given = Given("small", EmbeddingTable(np.eye(3, dtype=np.float32), ["a", "b", "c"]))
    with pytest.raises(ValueError, match=r"^Given table = '.*': must be an embedding table"):
        rebuilt("Given", parameters(given))
    with pytest.raises(ValueError, match=r"^Mine is not a method of this program, nor of an installed"):
        rebuilt("Mine", {})
    with pytest.raises(ValueError, match=r"^load is not a method of this program"):
        rebuilt("load", {"path": "x"})
    with pytest.raises(ValueError, match=r"^Uniform does not take these settings: .*'colour'"):
        rebuilt("Uniform", {"bits": 2, "colour": 1})
