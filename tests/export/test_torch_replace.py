"""Compressed embeddings in a small transformer: what is replaced, what stays, what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from eigenselect.compressors import PCA, EmbeddingTable, Payload, Uniform
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.export import CompressedEmbedding, replace_embeddings

WORDS, PLACES, WIDTH = 100, 32, 16


class Transformer(nn.Module):
    """Words and places, one layer, an output head."""

    def __init__(self, padding_idx: int | None = None, **settings: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx, **settings)
        self.places = nn.Embedding(PLACES, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0, batch_first=True)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        out: torch.Tensor = self.head(self.layer(self.words(ids) + self.places(places)))
        return out


IDS = torch.tensor([[1, 0, 99, 4, 4], [50, 3, 0, 0, 7]])


def table(weight: torch.Tensor) -> EmbeddingTable:
    return EmbeddingTable(weight.detach().float().numpy())


def payload_of(weight: torch.Tensor, bits: int = 4) -> Payload:
    return Uniform(bits).compress(table(weight), np.random.default_rng(0))


def decoded(payload: Payload) -> torch.Tensor:
    return torch.from_numpy(payload.decode(np.arange(payload.n), NumpyOps()))


def test_a_payload_replaces_the_embedding_of_its_table() -> None:
    model = Transformer().eval()
    payload = payload_of(model.words.weight)
    expected = copy.deepcopy(model)
    expected.words.weight.data = decoded(payload)
    places, words = model.places, model.words
    (done,) = replace_embeddings(model, payload)
    assert isinstance(model.words, CompressedEmbedding) and model.places is places
    assert (done.names, done.nbytes_before, done.nbytes_after) == (("words",), 4 * WORDS * WIDTH, model.words.nbytes)
    assert model.words.nbytes < words.weight.nbytes
    torch.testing.assert_close(model(IDS), expected(IDS), rtol=0, atol=0)


def test_of_two_of_one_shape_the_one_with_the_values_is_replaced() -> None:
    model = nn.ModuleDict({"a": nn.Embedding(50, 8), "b": nn.Embedding(50, 8), "c": nn.Embedding(50, 8)})
    (done,) = replace_embeddings(model, payload_of(model["b"].weight))
    assert done.names == ("b",)
    assert [type(model[name]) for name in "abc"] == [nn.Embedding, CompressedEmbedding, nn.Embedding]


def test_bits_replace_each() -> None:
    model = Transformer(padding_idx=3, sparse=True, scale_grad_by_freq=True).eval()
    with torch.no_grad():
        model.words.weight[3] = 0.123
    expected = copy.deepcopy(model)
    for embedding in (expected.words, expected.places):
        embedding.weight.data = decoded(payload_of(embedding.weight, 6))
    expected.words.weight.data[3] = 0.123
    done = replace_embeddings(model, bits=6)
    assert [entry.names for entry in done] == [("words",), ("places",)]
    assert [entry.nbytes_before for entry in done] == [4 * WORDS * WIDTH, 4 * PLACES * WIDTH]
    assert [entry.nbytes_after for entry in done] == [model.words.nbytes, model.places.nbytes]
    assert (model.words.padding_idx, model.places.padding_idx) == (3, None)
    torch.testing.assert_close(model(IDS), expected(IDS), rtol=0, atol=0)


def test_the_row_at_padding_idx_stays_what_it_was() -> None:
    for value in (0.0, 1 / 3, 1e30):
        model = nn.Sequential(nn.Embedding(WORDS, WIDTH))
        payload = payload_of(model[0].weight, 2)
        model[0].padding_idx = 7
        with torch.no_grad():
            model[0].weight[7] = value
        replace_embeddings(model, payload)
        expected = decoded(payload)
        expected[7] = value
        torch.testing.assert_close(model(torch.arange(WORDS)), expected, rtol=0, atol=0)


def test_a_row_at_padding_idx_that_is_exact_costs_nothing() -> None:
    model = nn.Sequential(nn.Embedding(WORDS, WIDTH, padding_idx=7))
    payload = payload_of(model[0].weight)
    model[0].weight.data[7] = decoded(payload)[7]
    replace_embeddings(model, payload)
    assert model[0].nbytes == CompressedEmbedding(payload).nbytes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_dtype_and_mode_are_kept(dtype: torch.dtype, training: bool) -> None:
    model = Transformer().to(dtype).train(training)
    payload = payload_of(model.words.weight)
    replace_embeddings(model, payload)
    assert (model.words.dtype, model.words.training) == (dtype, training)
    assert model(IDS).dtype == dtype
    torch.testing.assert_close(model.words(IDS), decoded(payload).to(dtype)[IDS], rtol=0, atol=0)


def test_one_in_several_places_is_replaced_by_one() -> None:
    shared = nn.Embedding(WORDS, WIDTH)
    model = nn.ModuleDict({"encoder": nn.Sequential(shared), "decoder": nn.ModuleList([shared]), "top": shared})
    for by in ({"payload": payload_of(shared.weight)}, {"bits": 4}, {"bits": 4, "names": ["top"]}):
        made = copy.deepcopy(model)
        (done,) = replace_embeddings(made, **by)
        assert done.names == ("encoder.0", "decoder.0", "top")
        assert isinstance(made["top"], CompressedEmbedding)
        assert made["encoder"][0] is made["decoder"][0] is made["top"]


def test_names_leave_the_others() -> None:
    model = Transformer()
    model.head.weight = model.words.weight
    (done,) = replace_embeddings(model, bits=4, names={"places"})
    assert done.names == ("places",) and isinstance(model.words, nn.Embedding)


# --- refusals ---------------------------------------------------------------------------------------------------------


class Scaled(nn.Embedding):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return 4 * super().forward(ids)


class Half(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


def tie(model: Transformer) -> None:
    model.head.weight = model.words.weight


def renormalize(model: Transformer) -> None:
    model.words.max_norm = 1.0


def scale(model: Transformer) -> None:
    model.words = Scaled(WORDS, WIDTH, _weight=model.words.weight.detach())


def bag(model: Transformer) -> None:
    model.words = nn.EmbeddingBag(WORDS, WIDTH, mode="max", _weight=model.words.weight.detach())


def hook(model: Transformer) -> None:
    model.words.register_forward_hook(lambda *_: None)


def hook_before(model: Transformer) -> None:
    model.words.register_forward_pre_hook(lambda *_: None)


def compute(model: Transformer) -> None:
    nn.utils.parametrize.register_parametrization(model.words, "weight", Half())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tie, r"words shares its weight with head\.weight: give each a parameter of its own first"),
        (renormalize, r"words has max_norm = 1\.0: its rows change as they are looked up"),
        (scale, r"words is a Scaled, which has a forward of its own"),
        (bag, r"words takes the max of a bag: sum and mean are supported"),
        (hook, r"words has hooks, which would be lost: remove them, and register them again"),
        (hook_before, r"words has hooks, which would be lost: remove them, and register them again"),
        (compute, r"words computes its weight: make it a parameter first, as remove_parametrizations does"),
    ],
)
@pytest.mark.parametrize("by", ["payload", "bits"])
def test_what_cannot_be_replaced_is_named_and_nothing_is(
    change: Callable[[Transformer], None], message: str, by: str
) -> None:
    model = Transformer()
    change(model)
    given = {"payload": payload_of(model.words.weight)} if by == "payload" else {"bits": 4}
    with pytest.raises(
        ValueError, match=rf"^not replaced: {message}\. Others can be replaced alone: give their names$"
    ):
        replace_embeddings(model, **given)
    assert not any(isinstance(module, CompressedEmbedding) for module in model.modules())


def test_each_obstacle_is_named() -> None:
    model = Transformer()
    tie(model)
    model.places.max_norm = 2.0
    with pytest.raises(ValueError, match=r"^not replaced: words shares .*; places has max_norm = 2\.0"):
        replace_embeddings(model, bits=4)


def test_two_embeddings_of_one_parameter_are_tied() -> None:
    model = nn.ModuleList([nn.Embedding(50, 8), nn.Embedding(50, 8)])
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"0 shares its weight with 1\.weight: .*; 1 shares its weight with 0\.weight"):
        replace_embeddings(model, bits=4)


def test_a_payload_of_another_table_is_refused_with_what_was_found() -> None:
    model = Transformer()
    other = payload_of(torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(1)))
    message = (
        r"^no embedding holds the table of this \(100, 16\) payload: words has \d+% of its rows nearer to their own "
        r"decoded row than to another, not 75%; places is \(32, 16\)$"
    )
    with pytest.raises(ValueError, match=message):
        replace_embeddings(model, other)
    with pytest.raises(ValueError, match=r"^no embedding holds .*: places is \(32, 16\)$"):
        replace_embeddings(model, payload_of(model.words.weight), names=["places"])


@pytest.mark.parametrize(("right", "fits"), [(70, False), (80, True)])
def test_three_rows_of_four_must_fit(right: int, fits: bool) -> None:
    weight = torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Embedding(WORDS, WIDTH, _weight=weight.clone()))
    with torch.no_grad():
        model[0].weight[right:] *= -1  # farther from its own row than from most others
    payload = payload_of(weight, 8)
    if fits:
        assert replace_embeddings(model, payload)
    else:
        with pytest.raises(ValueError, match="nearer to their own decoded row"):
            replace_embeddings(model, payload)


def test_a_payload_that_fits_twice_is_refused() -> None:
    model = nn.ModuleDict({"a": nn.Embedding(50, 8), "b": nn.Embedding(50, 8)})
    model["b"].weight.data = model["a"].weight.data.clone()
    payload = payload_of(model["a"].weight)
    with pytest.raises(ValueError, match=r"^the payload fits \['a', 'b'\]: name one of them$"):
        replace_embeddings(model, payload)
    assert replace_embeddings(model, payload, names=["b"])[0].names == ("b",)


def test_a_payload_in_coordinates_of_its_own_is_refused() -> None:
    model = Transformer()
    payload = PCA(dim=WIDTH).compress(table(model.words.weight), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^the payload decodes to coordinates of its own, and the model needs"):
        replace_embeddings(model, payload)


def test_what_has_no_values_is_refused() -> None:
    payload = payload_of(Transformer().words.weight)
    with pytest.raises(ValueError, match=r"words is on the meta device: load its values first"):
        replace_embeddings(Transformer().to("meta"), bits=4)
    with pytest.raises(ValueError, match=r"words is on the meta device, without values"):
        replace_embeddings(Transformer().to("meta"), payload)


def test_a_weight_that_cannot_be_compressed_is_named() -> None:
    model = Transformer()
    model.places.weight.data[3, 4] = torch.nan
    with pytest.raises(ValueError, match=r"^places: "):
        replace_embeddings(model, bits=4)
    assert isinstance(model.words, nn.Embedding)


def test_other_misuse_is_named() -> None:
    model = Transformer()
    payload = payload_of(model.words.weight)
    for given in ({}, {"payload": payload, "bits": 4}):
        with pytest.raises(ValueError, match=r"^replace_embeddings takes either a payload or bits: give one of them$"):
            replace_embeddings(model, **given)
    with pytest.raises(ValueError, match=r"^Uniform bits = 9: must be an integer from 1 to 8$"):
        replace_embeddings(model, bits=9)
    with pytest.raises(
        ValueError, match=r"^\['wrds'\] are not embeddings of this model: it has \['places', 'words'\]$"
    ):
        replace_embeddings(model, bits=4, names=["wrds"])
    for none, names in ((nn.Linear(2, 2), None), (model, [])):
        with pytest.raises(ValueError, match=r"^there is no nn\.Embedding to replace$"):
            replace_embeddings(none, bits=4, names=names)
    with pytest.raises(ValueError, match=r"^not replaced: the model is itself the embedding: make a Compressed"):
        replace_embeddings(model.words, bits=4)
