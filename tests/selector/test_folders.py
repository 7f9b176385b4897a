"""Model folders: the input embedding is found by its name in whichever shard, with the tokenizer's tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import sentencepiece

from eigenselect.compressors.data.stored import StoredRows
from eigenselect.selector.sources import read_table
from tests.selector.test_sources import refused, small, write_safetensors

N, D = 40, 6
VECTORS = np.random.default_rng(3).normal(size=(N, D)).astype(np.float32)
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
TYPES |= {"int8": "I8", "int64": "I64"}


def entry(array: np.ndarray) -> tuple[str, list[int], bytes]:
    return TYPES[array.dtype.name], [*array.shape], array.tobytes()


def shard(path: Path, **tensors: np.ndarray) -> Path:
    return write_safetensors(path, {name: entry(array) for name, array in tensors.items()})


def sharded(folder: Path, shards: dict[str, dict[str, np.ndarray]], config: dict[str, Any] | None = None) -> Path:
    """A folder with these tensors in these files, their index and a configuration."""
    folder.mkdir(exist_ok=True)
    for file, tensors in shards.items():
        shard(folder / file, **tensors)
    weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


LAYER = {
    "model.layers.0.mlp.up_proj.weight": np.zeros((64, D), np.float32),
    "model.norm.weight": np.ones(D, np.float32),
}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        *("model.embed_tokens.weight", "transformer.wte.weight", "bert.embeddings.word_embeddings.weight"),
        *("shared.weight", "gpt_neox.embed_in.weight", "backbone.embeddings.weight", "embeddings", "embedding.weight"),
        *("language_model.model.embed_tokens.weight", "text_model.embeddings.token_embedding.weight"),
    ],
)
def test_the_embedding_is_found_by_its_name(name, tmp_path):
    folder = sharded(tmp_path / "m", {FIRST: LAYER, SECOND: {name: VECTORS, "lm_head.bias": VECTORS[0]}})
    for path in (folder, folder / "model.safetensors.index.json"):
        table = read_table(path)
        np.testing.assert_array_equal(table.vectors, VECTORS)
        assert isinstance(table.vectors, np.memmap)
    (folder / FIRST).unlink()
    np.testing.assert_array_equal(read_table(folder).vectors, VECTORS, "other shards are not needed")


def test_one_of_several_names_is_taken_only_where_that_is_clear(tmp_path):
    both = {"encoder.embed_tokens.weight": VECTORS, "decoder.embed_tokens.weight": VECTORS[:30]}
    folder = sharded(tmp_path / "m", {FIRST: both | LAYER})
    listed = "'encoder.embed_tokens.weight' [40, 6] F32, 'decoder.embed_tokens.weight' [30, 6] F32, 'model.layers"
    refused(folder, "2 tensors could be the table", "table.tensor", listed)
    np.testing.assert_array_equal(read_table(folder, tensor="decoder.*").vectors, VECTORS[:30])
    refused(folder, "2 tensors fit '*embed*'", tensor="*embed*")
    refused(folder, "no tensor '*ngram*' in 4", listed, tensor="*ngram*")
    for config in ({"vocab_size": 30}, {"text_config": {"vocab_size": 30}}):
        sharded(folder, {FIRST: both | LAYER}, config)
        np.testing.assert_array_equal(read_table(folder).vectors, VECTORS[:30])
    sharded(folder, {FIRST: both | LAYER | {"shared.weight": VECTORS * 2}})
    np.testing.assert_array_equal(read_table(folder).vectors, VECTORS * 2)


def test_what_is_missing_is_named_with_the_cure(tmp_path):
    folder = sharded(tmp_path / "m", {FIRST: LAYER, SECOND: {"model.embed_tokens.weight": VECTORS}})
    (folder / SECOND).unlink()
    refused(folder, f"'model.embed_tokens.weight' is in {SECOND}, which is not in the folder: fetch it too")
    refused(folder, SECOND, tensor="*embed*")
    (folder / SECOND).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    refused(folder, f"{SECOND}, which is a git-lfs pointer", "git lfs pull")
    assert read_table(folder, tensor="*up_proj*").n == 64
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, SECOND, "it is a git-lfs pointer")
    (empty := tmp_path / "empty").mkdir()
    refused(empty, "no weights in this folder (nothing)")
    (empty / "onnx").mkdir()
    (empty / "onnx" / "model.onnx").write_bytes(b"")
    refused(empty, "give the file: onnx/model.onnx")
    refused(folder, "sha256 is given for a model folder", sha256="0")


def test_the_folders_of_a_cache_and_of_modules(tmp_path):
    """What huggingface_hub and sentence-transformers leave: links to blobs, and a folder for each module."""
    root = tmp_path / "models--x--y"
    for part in ("blobs", "refs", "snapshots/abc/0_StaticEmbedding"):
        (root / part).mkdir(parents=True)
    shard(root / "blobs" / "1f", **{"embedding.weight": VECTORS})
    (root / "refs" / "main").write_text("abc\n")
    snapshot = root / "snapshots" / "abc"
    (snapshot / "modules.json").write_text(json.dumps([{"path": "0_StaticEmbedding"}]))
    (snapshot / "0_StaticEmbedding" / "model.safetensors").symlink_to(root / "blobs" / "1f")
    (snapshot / "0_StaticEmbedding" / "tokenizer.json").write_text(tokenizer([f"t{i}" for i in range(N)]))
    for path in (root, snapshot, snapshot / "0_StaticEmbedding"):
        table = read_table(path)
        np.testing.assert_array_equal(table.vectors, VECTORS)
        assert table.tokens == [f"t{i}" for i in range(N)]


def tokenizer(tokens: list[str], added: dict[int, str] | None = None) -> str:
    vocab = {token: id for id, token in enumerate(tokens)}
    extra = [{"id": id, "content": content} for id, content in (added or {}).items()]
    return json.dumps({"model": {"type": "BPE", "vocab": vocab}, "added_tokens": extra})


def test_tokens_are_those_of_the_tokenizer(tmp_path):
    folder = sharded(tmp_path / "m", {FIRST: {"wte.weight": VECTORS}})
    assert read_table(folder).tokens is None
    words = [f"Ġw{i}" for i in range(N)]
    words[3] = "\n"
    (folder / "vocab.txt").write_text("\n".join(f"line{i}" for i in range(N)) + "\n")
    assert read_table(folder).tokens == [f"line{i}" for i in range(N)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in reversed([*enumerate(words)])}))
    assert read_table(folder).tokens == words
    unigram = {
        "model": {"vocab": [[word, -1.0] for word in words[:38]]},
        "added_tokens": [{"id": 39, "content": "<s>"}],
    }
    (folder / "tokenizer.json").write_text(json.dumps(unigram))
    table = read_table(folder)
    assert table.tokens == [*words[:38], "<padding 0>", "<s>"]
    assert "1 rows have no token" in table.remarks[-1]
    (folder / "tokenizer.json").write_text(tokenizer([*words, "more"], {N + 1: "<pad>"}))
    table = read_table(folder)
    assert table.tokens == words and "2 tokens of the tokenizer have no row" in table.remarks[-1]
    (folder / "list.txt").write_text("".join(f"mine{i}\n" for i in range(N)))
    assert read_table(folder, tokens=folder / "list.txt").tokens[0] == "mine0"
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json: no vocabulary is read from it .*table.tokens=FILE"):
        read_table(folder)


def test_the_pieces_of_a_sentencepiece_model(tmp_path, monkeypatch):
    folder = sharded(tmp_path / "m", {FIRST: {"wte.weight": VECTORS}})
    texts = [f"{a}{b} {b}{a}{a}" for a in "abcdef" for b in "ghijkl"]
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=file, vocab_size=N - 2, minloglevel=2, hard_vocab_limit=False
        )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    table = read_table(folder)
    made = pieces.get_piece_size()
    assert table.tokens[:made] == [pieces.id_to_piece(i) for i in range(made)] and made > 10
    assert table.tokens[made:] == [f"<padding {i}>" for i in range(N - made)]
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    refused(folder, "tokenizer.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    refused(folder, "pip install 'eigenselect[sentencepiece]'")


def test_tied_heads_are_reported(tmp_path):
    head = {"lm_head.weight": VECTORS.copy()}
    folder = sharded(tmp_path / "m", {FIRST: {"wte.weight": VECTORS} | head})
    assert read_table(folder).remarks == [
        "The output head lm_head.weight, 960 bytes, holds the numbers of wte.weight once more: tied, it takes the "
        "compressed table too."
    ]
    head["lm_head.weight"][-1, -1] += 1
    sharded(folder, {FIRST: {"wte.weight": VECTORS} | head})
    assert "is another table than wte.weight" in read_table(folder).remarks[0]
    for config, tied in (
        ({"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": False, "architectures": ["GPT2LMHeadModel"]}, False),
        ({"architectures": ["GPT2LMHeadModel"]}, True),
        ({"architectures": ["BertModel"]}, False),
    ):
        sharded(folder, {FIRST: {"wte.weight": VECTORS}}, config)
        assert any("tied" in remark for remark in read_table(folder).remarks) == tied


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("ending", [None, "_scale", "_scale_inv", ".SCB"])
@pytest.mark.parametrize("shape", [(), (1,), (300,), (300, 1), (3, 2)])
def test_narrow_floats_are_widened_a_block_at_a_time(dtype, ending, shape, tmp_path):
    """Beside an oracle that repeats each scale over its 128 x 128 block."""
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(300, 200)).astype(getattr(ml_dtypes, dtype))
    scales = rng.uniform(0.5, 2, shape).astype(np.float32)
    beside = {} if ending is None else {f"model.embed_tokens.weight{ending}": scales}
    folder = sharded(tmp_path / "m", {FIRST: {"model.embed_tokens.weight": stored}, SECOND: beside | LAYER})
    table = read_table(folder)
    expected, nbytes = stored.astype(np.float32), stored.nbytes
    if ending is not None and dtype != "bfloat16":
        nbytes += scales.nbytes
        each = np.kron(scales, np.ones((128, 128)))[:300, :200] if shape == (3, 2) else np.reshape(scales, (-1, 1))
        expected = (expected * each / (127 if ending == ".SCB" else 1)).astype(np.float32)
    assert isinstance(table.vectors, StoredRows) and table.stored == dtype
    assert table.stored_nbytes == nbytes
    np.testing.assert_allclose(table.vectors, expected, rtol=1e-6)
    some = np.array([299, 0, 131, 131])
    np.testing.assert_array_equal(table.read(some), np.asarray(table.vectors)[some])
    np.testing.assert_array_equal(read_table(folder, rows=250).vectors, np.asarray(table.vectors)[:250])


def test_integers_with_scales(tmp_path):
    codes = np.random.default_rng(0).integers(-128, 128, (N, D)).astype(np.int8)
    scales = np.linspace(0.1, 1, N, dtype=np.float32)
    folder = sharded(tmp_path / "m", {FIRST: {"wte.weight": codes, "wte.scales": scales} | LAYER})
    np.testing.assert_allclose(read_table(folder).vectors, codes * scales[:, None], rtol=1e-6)
    assert read_table(folder).stored == "int8"
    sharded(folder, {FIRST: {"wte.weight": codes, "wte.scales": np.ones(7, np.float32)}})
    refused(folder, "the scales 'wte.scales' of shape [7] fit no blocks of 40 x 6")
    zeros = {"wte.weight": codes, "wte.weight_scale": scales, "wte.weight_zero_point": np.ones(N, np.int8)}
    sharded(folder, {FIRST: zeros})
    refused(folder, "'wte.weight' has zero points ('wte.weight_zero_point')", "save it as float32")
    sharded(folder, {FIRST: {"wte.weight": codes}})
    refused(folder, "holds int8", "table.dtype=float32")
    np.testing.assert_array_equal(read_table(folder, dtype="float16").vectors, codes.astype(np.float16), strict=False)


def test_a_stored_table_is_pruned_without_being_made(tmp_path):
    vectors, tokens = small(30, 3)
    stored = vectors.astype(ml_dtypes.bfloat16)
    folder = sharded(tmp_path / "m", {FIRST: {"wte.weight": stored}})
    names = [token.decode() for token in tokens]
    (folder / "tokenizer.json").write_text(tokenizer(names))
    (folder / "keep.txt").write_text("tok7\ntok2\ntok29\n")
    kept = read_table(folder, keep=folder / "keep.txt")
    assert isinstance(kept.vectors, StoredRows) and kept.stored_nbytes == 3 * 3 * 2
    np.testing.assert_array_equal(kept.read(slice(0, 3)), stored.astype(np.float32)[[7, 2, 29]])
