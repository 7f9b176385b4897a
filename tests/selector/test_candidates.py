"""Pools of candidates: products of lists, and errors that name the entry."""

from __future__ import annotations

import pytest

from compressors import PCA, Identity, KMeans, Uniform
from selector.candidates import expand, parameters

UNIFORM = {"_target_": "compressors.Uniform"}
KMEANS = {"_target_": "compressors.KMeans"}
IDENTITY = {"_target_": "compressors.Identity"}
PRINCIPAL = {"_target_": "compressors.PCA"}


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


def test_a_list_of_lists_is_one_list():
    assert expand({"a": {**UNIFORM, "bits": [[1, 2], [3]]}}) == [Uniform(1), Uniform(2), Uniform(3)]


def test_an_entry_may_itself_be_a_list():
    assert expand({"a": [{**UNIFORM, "bits": 1}, {**KMEANS, "bits": [1, 2]}]}) == [Uniform(1), KMeans(1), KMeans(2)]


def test_null_is_a_value():
    assert expand({"a": {**PRINCIPAL, "dim": None, "rate": 2}}) == [PCA(rate=2)]


@pytest.mark.parametrize("pool", [{}, {"a": {**UNIFORM, "bits": []}}, {"a": []}])
def test_an_empty_pool_is_refused(pool):
    with pytest.raises(ValueError, match="the candidates' pool is empty: name at least one compressor"):
        expand(pool)


@pytest.mark.parametrize("bits", [[4, 4], [4, [2, 4]]])
def test_a_candidate_named_twice_is_refused(bits):
    with pytest.raises(ValueError, match=r"^candidates\.pool\.a makes uniform-b4 a second time: drop one of the two$"):
        expand({"a": {**UNIFORM, "bits": bits}})


def test_the_second_of_two_entries_is_named():
    with pytest.raises(ValueError, match=r"^candidates\.pool\.second makes uniform-b4 a second time"):
        expand({"first": {**UNIFORM, "bits": 4}, "second": {**UNIFORM, "bits": [2, 4]}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**UNIFORM, "bitz": 4}, r"unexpected keyword argument 'bitz'"),
        ({**PRINCIPAL, "rate": 2, "then": {**UNIFORM, "bitz": 4}}, r"unexpected keyword argument 'bitz'"),
        (UNIFORM, r"missing 1 required positional argument: 'bits'"),
        ({**UNIFORM, "bits": 9}, r"bits = 9: must be an integer from 1 to 8"),
        ({**UNIFORM, "bits": [4, 9]}, r"bits = 9: must be an integer from 1 to 8"),
        ({**UNIFORM, "bits": 4, "rounding": "up"}, r"rounding = 'up': must be nearest or stochastic"),
        (PRINCIPAL, r"PCA with dim = None and rate = None: give exactly one of them"),
        ({"_target_": "compressors.Unifrom", "bits": 4}, r"[\s\S]*compressors\.Unifrom"),
        ("compressors.Uniform", r"Cannot instantiate config of type str"),
    ],
)
def test_an_entry_that_cannot_be_built_is_named_with_the_reason(settings, message):
    with pytest.raises(ValueError, match=rf"^candidates\.pool\.mine: (.*\.__init__\(\) (got an )?)?{message}"):
        expand({"mine": settings})


@pytest.mark.parametrize(
    ("settings", "kind"), [({"_target_": "collections.OrderedDict"}, "OrderedDict"), ({"bits": 4}, "dict")]
)
def test_a_target_that_is_no_compressor_is_refused(settings, kind):
    with pytest.raises(ValueError, match=rf"^candidates\.pool\.mine makes a {kind}: its _target_ must be a Compressor"):
        expand({"mine": settings})


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
