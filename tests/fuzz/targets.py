"""What reads which files: each target's inputs, how they are changed, and what reading one must come to."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from eigenselect.compressors import EmbeddingTable, Uniform, load
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.whole import fingerprint
from eigenselect.export import Kept, VerificationError, rewrite_host
from eigenselect.export.models.sessions import read_inputs
from eigenselect.selector.checking.examination import examine
from eigenselect.selector.commands.select import execute
from eigenselect.selector.decision.record import read_decision
from eigenselect.selector.run.settings import Settings
from eigenselect.selector.sources import read_table
from eigenselect.selector.sources.counts import read_counts
from eigenselect.selector.sources.static import read as read_static
from eigenselect.selector.sources.tokens import read_id_map, read_tokens, write_id_map
from eigenselect.selector.store.manifest import MANIFEST, read_manifest
from tests.cases import CASES, gaussian, payload_of
from tests.decisions import EVERYTHING, decision
from tests.export.hosts import make_host
from tests.export.mutations import mutated as some_model
from tests.export.mutations import seeds as models
from tests.fuzz import mutations
from tests.fuzz.mutations import Change, some_bytes, some_json, some_text
from tests.selector.writers import WRITERS, columns

Files = dict[str, bytes]
"""The files of an input, by their paths in its folder."""

LINE = 300
"""Characters of a message, beside the path of its file."""

TABLE = gaussian(20, 6)
TOKENS = [f"word{i}".encode() for i in range(20)]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: of it.
        seeds: folder for what must be written on the way -> inputs that it reads.
        change: by the name of a file, with * for any other.
        read: reads the input in a folder. A ValueError is a refusal, which must be one short line that names a file of
            the input; anything else that is raised is a bug.
        share: of the inputs that are tried in all.
        short: whether a message need not be short and name a file, since it is about what the user typed.
    """

    name: str
    seeds: Callable[[Path], list[Files]]
    change: Mapping[str, Change]
    read: Callable[[Path], object]
    share: float = 1.0
    short: bool = True

    def changed(self, seed: Files, random: Random) -> Files:
        """The input with one of its files changed."""
        name = random.choice([name for name in seed if name in self.change or "*" in self.change])
        change = self.change.get(name) or self.change["*"]
        return {**seed, name: change(seed[name], random)}

    def try_on(self, files: Files, folder: Path) -> bool:
        """Whether the input is read; False where it is refused as it must be.

        Raises:
            Exception: neither.
        """
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self.read(folder)
        except ValueError as error:
            said = str(error)
            assert type(error) is not UnicodeError and not isinstance(error, UnicodeError | json.JSONDecodeError), said
            assert "\n" not in said, f"two lines: {said[:500]}"
            if self.short:
                assert len(said) < LINE + len(str(folder)), f"{len(said)} characters: {said[:700]}"
                assert any(part in said for name in files for part in Path(name).parts), f"no file is named: {said}"
            return False
        return True


def _table(path: Path, **given: object) -> None:
    table = read_table(path, **given)  # type: ignore[arg-type]
    rows = table.read(slice(0, table.n))
    assert rows.shape == (table.n, table.d) and np.isfinite(rows).all() and table.n >= table.d
    assert table.tokens is None or len(table.tokens) == table.n


def _written(name: str, write: Callable[[Path], object]) -> Callable[[Path], Files]:
    def seed(folder: Path) -> Files:
        write(folder / name)
        return {name: (folder / name).read_bytes()}

    return seed


def _text(header: str = "", between: str = " ") -> bytes:
    rows = (between.join((token.decode(), *map(str, row))) for token, row in zip(TOKENS, TABLE.tolist(), strict=True))
    return (header + "\n".join(rows) + "\n").encode()


def _binary(newline: bytes = b"\n") -> bytes:
    rows = (token + b" " + row.astype("<f4").tobytes() + newline for token, row in zip(TOKENS, TABLE, strict=True))
    return b"20 6\n" + b"".join(rows)


def _safetensors(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"embed_tokens.weight": TABLE, "lm_head.weight": TABLE, "b": TABLE[0]}, path, metadata={"format": "pt"})


def _format(name: str, file: str, seeds: list[Callable[[Path], Files]], change: Change) -> Target:
    """The reader of a format, which is given, and found in half of the inputs."""

    def read(folder: Path) -> None:
        path = folder / file
        given = path.stat().st_size % 2
        _table(path, format=name if given else None)

    return Target(name, lambda folder: [seed(folder) for seed in seeds], {file: change}, read)


def _as_is(name: str, *contents: bytes) -> list[Callable[[Path], Files]]:
    return [lambda folder, content=content: {name: content} for content in contents]  # type: ignore[misc]


def _parquet(path: Path, kind: str) -> None:
    from pyarrow import parquet

    parquet.write_table(columns(TABLE, TOKENS, kind), path, row_group_size=5)


def _stream(path: Path) -> None:
    from pyarrow import ipc

    table = columns(TABLE, TOKENS, "lists")
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def _formats() -> list[Target]:
    def of(name: str, file: str) -> Callable[[Path], Files]:
        return _written(file, lambda path: WRITERS[name](path, TABLE, TOKENS))

    text = [_text(), _text(between="\t"), re.sub(rb"(word\d+) ", rb"\1\t", _text())]
    return [
        _format("arrow", "t.arrow", [of("arrow", "t.arrow"), _written("t.arrow", _stream)], some_bytes),
        _format("csv", "t.csv", [of("csv", "t.csv"), *_as_is("t.csv", _text(between=";"))], some_text),
        _format("fasttext", "t.bin", [of("fasttext", "t.bin")], some_bytes),
        _format("gguf", "t.gguf", [of("gguf", "t.gguf")], some_bytes),
        _format("glove", "t.txt", _as_is("t.txt", *text), some_text),
        _format("glove", "t.txt.gz", _as_is("t.txt.gz", gzip.compress(_text())), mutations.some_gzip),
        _format("npy", "t.npy", [_written("t.npy", lambda path: np.save(path, TABLE))], mutations.some_npy),
        _format("npz", "t.npz", [of("npz", "t.npz")], mutations.some_zip),
        _format("onnx", "t.onnx", _as_is("t.onnx", *models()), some_model),
        _format(
            "parquet",
            "t.parquet",
            [_written("t.parquet", lambda path, kind=kind: _parquet(path, kind)) for kind in ("fixed", "columns")],  # type: ignore[misc]
            some_bytes,
        ),
        _format("safetensors", "t.safetensors", [_written("t.safetensors", _safetensors)], mutations.some_safetensors),
        _format("torch", "t.pt", [of("torch", "t.pt")], mutations.some_zip),
        _format("word2vec-binary", "t.bin", _as_is("t.bin", _binary(), _binary(b"")), some_bytes),
        _format("word2vec-text", "t.vec", _as_is("t.vec", _text("20 6\n")), some_text),
    ]


def _lists(folder: Path) -> list[Files]:
    from pyarrow import parquet

    np.save(folder / "t.npy", TABLE)
    table = (folder / "t.npy").read_bytes()
    parquet.write_table(columns(TABLE, TOKENS).select(["word"]), folder / "tokens.parquet")
    counts = [
        b"\n".join(b"%d" % i for i in range(20)),
        b"\n".join(b"%s %d" % (token, i) for i, token in enumerate(TOKENS)),
    ]
    lines = b"\n".join([*TOKENS[1:], b'!json "a\\nb"'])
    return [
        {"t.npy": table, "tokens.parquet": (folder / "tokens.parquet").read_bytes()},
        *({"t.npy": table, "tokens.txt": lines, "counts.txt": each} for each in counts),
    ]


def _read_lists(folder: Path) -> None:
    names = {path.stem: path for path in folder.iterdir() if path.suffix != ".npy"}
    for path in names.values():
        (read_counts if path.stem == "counts" else read_tokens)(path)
    _table(folder / "t.npy", tokens=names["tokens"], counts=names.get("counts"), duplicates="first")


def _id_map(folder: Path) -> list[Files]:
    write_id_map(folder / "id_map.csv", np.arange(20)[::-1], ["a\nb", "=1", *(token.decode() for token in TOKENS[2:])])
    return [{"id_map.csv": (folder / "id_map.csv").read_bytes()}]


TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None, "decoder": None,
    "added_tokens": [{"id": 19, "content": "[PAD]", "special": True, "single_word": False, "lstrip": False,
                      "rstrip": False, "normalized": False}],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {f"word{i}": i for i in range(20)}, "unk_token": "word0"},
}  # fmt: skip


def _model_folder(folder: Path) -> list[Files]:
    _safetensors(folder / "w")
    weights, tokenizer = (folder / "w").read_bytes(), json.dumps(TOKENIZER).encode()
    index = {"weight_map": dict.fromkeys(("embed_tokens.weight", "lm_head.weight", "b"), "a-1.safetensors")}
    config = {"vocab_size": 20, "tie_word_embeddings": True, "architectures": ["XForCausalLM"], "text_config": {"a": 1}}
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    return [
        {"m/model.safetensors": weights, "m/config.json": json.dumps(config).encode(), "m/tokenizer.json": tokenizer},
        {"m/a-1.safetensors": weights, "m/model.safetensors.index.json": json.dumps(index).encode()},
        {
            "m/model.safetensors": weights,
            "m/modules.json": json.dumps(modules).encode(),
            "m/vocab.txt": b"\n".join(TOKENS),
        },
    ]


def _static_folder(folder: Path) -> list[Files]:
    from safetensors.numpy import save

    weights = save({"embeddings": TABLE, "weights": np.ones(20), "mapping": np.arange(20)})
    model = {"s/model.safetensors": weights, "s/tokenizer.json": json.dumps(TOKENIZER).encode()}
    modules = [
        {"path": "0", "type": "sentence_transformers.models.StaticEmbedding"},
        {"path": "1", "type": "x.Normalize"},
    ]
    return [
        {**model, "s/config.json": json.dumps({"normalize": True, "max_length": 512}).encode()},
        {
            "s/0/model.safetensors": save({"embedding.weight": TABLE}),
            "s/0/tokenizer.json": json.dumps(TOKENIZER).encode(),
            "s/modules.json": json.dumps(modules).encode(),
        },
    ]


def _read_static(folder: Path) -> None:
    found = read_static(folder / "s")
    if found is not None and max(found.shape) < 1000:
        payload = Dense(np.zeros((found.shape[0], 1), np.float16))
        found.model(payload).encode(["word1 word2", "", "word1 zzz"])


def _payloads(folder: Path) -> list[Files]:
    return [
        _written("p.safetensors", payload_of(case, "gaussian").save)(folder)
        for case in CASES
        if not case.random or "tensor" in case.id
    ]


def _read_payload(folder: Path) -> None:
    payload = load(folder / "p.safetensors")
    if payload.n * payload.width < 1 << 22:
        rows = payload.read(slice(0, None))
        assert rows.shape == (payload.n, payload.k) and np.isfinite(rows).all()
        payload.save(folder / "again.safetensors")
        np.testing.assert_array_equal(load(folder / "again.safetensors").read(slice(0, None)), rows)


@cache
def _hosts() -> tuple[bytes, ...]:
    return tuple(models())


def _rewrite(folder: Path) -> None:
    payload = Uniform(4).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    try:
        rewrite_host(
            folder / "t.onnx", payload, folder / "new.onnx", tied="keep", kept=Kept(np.arange(20), True, "zeros")
        )
    except VerificationError as error:
        raise ValueError(str(error)) from error


def _inputs(folder: Path) -> list[Files]:
    np.savez(folder / "i.npz", ids=np.ones((2, 3), np.int64), types=np.zeros((2, 3), np.int64))
    return [{"i.npz": (folder / "i.npz").read_bytes()}]


@cache
def _handed_over(folder: Path) -> Files:
    """The files of a hand-over that the main job wrote."""
    from tests.running import command, only

    made = folder / "made"
    made.mkdir()
    np.save(made / "t.npy", TABLE)
    (made / "t.txt").write_bytes(b"\n".join(TOKENS))
    store, before = f"sqlite:///{made}/mlflow.db", Path.cwd()
    os.environ["MLFLOW_TRACKING_URI"] = store
    os.chdir(made)
    words = [f"table.path={made}/t.npy", f"table.tokens={made}/t.txt", "budget=50%", f"out={made}/out"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert command(*words, *only("uniform", "kmeans"), "candidates.bits=[2]", "seed=1") == 0
    os.chdir(before)
    out = made / "out"
    return {f"out/{path.name}": path.read_bytes() for path in out.iterdir() if path.suffix != ".png"}


def _examine(folder: Path) -> None:
    """With digests that are those of the files in half of the inputs, so that what was changed is opened."""
    out = folder / "out"
    if sum((out / "selection.json").read_bytes() + (out / "payload.safetensors").read_bytes()) % 2:
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, OSError, RecursionError):
            manifest = json.loads((out / MANIFEST).read_bytes())
            manifest["files"] = {name: fingerprint(out / name) for name in manifest["files"]}
            (out / MANIFEST).write_text(json.dumps(manifest))
    examination = examine(out)
    for check in examination.checks:
        assert check.status in ("passed", "failed", "skipped")


def _decisions(folder: Path) -> list[Files]:
    return [{"selection.json": each.text().encode()} for each in (decision(), decision(**EVERYTHING))]


def _manifests(folder: Path) -> list[Files]:
    files = {
        "selection.json": {"bytes": 3, "sha256": "ab" * 32},
        "payload.safetensors": {"bytes": 7, "sha256": "00" * 32},
    }
    return [{"manifest.json": json.dumps({"version": 1, "files": files, "eigenselect": "0"}).encode()}]


OURS = "eigenselect.compressors"
UNIFORM = {"_target_": f"{OURS}.Uniform", "bits": [1, 4]}
KMEANS = {"_target_": f"{OURS}.KMeans", "bits": 3}
POOL = {
    "pool": {
        "a": UNIFORM,
        "b": {"_target_": f"{OURS}.PCA", "rate": 2, "then": KMEANS},
        "c": {"_target_": f"{OURS}.Bands", "share": 0.5, "head": UNIFORM, "tail": KMEANS},
    },
    "largest": 2,
}


def _pools(folder: Path) -> list[Files]:
    return [{"theirs/candidates/x.yaml": json.dumps(POOL).encode()}]


def _read_pool(folder: Path) -> None:
    _settings(["--config-dir", str(folder / "theirs"), "candidates=x"])


WORDS = [
    *("budget=16MB", "out=o", "candidates.bits=[1,2]", "exact_rows=[0,a]", "seed=1", "limits.lookup=2x", "use=trained"),
    *("tracking.register=x", "measures.exponents=[1,2]", "export.providers=null", "+candidates.largest=2", "~seed"),
    *("candidates.pool.uniform.bits=fit", "'table.path=\"a b\"'", "criterion=eos", "out=${table.path}"),
]


def _words(folder: Path) -> list[Files]:
    return [{"words": word.encode()} for word in WORDS]


def _read_words(folder: Path) -> None:
    _settings((folder / "words").read_bytes().decode("utf-8", "surrogateescape").split("\n"))


def _settings(words: list[str]) -> None:
    """Compose and check settings as a command does: exit code 0, or 2 and one line."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        words = [word for word in words if not word.startswith("-") or word == "--config-dir"]
        code = execute(
            "config", lambda job: Settings.of(job.config) and 0, ["table.path=t.npy", "budget=1kB", "out=o", *words]
        )
    assert (code, said.getvalue().count("\n")) in ((0, 0), (2, 1)), f"{code}: {said.getvalue()}"
    if code:
        raise ValueError(said.getvalue().strip())


TARGETS = [
    *_formats(),
    Target("token and count lists", _lists, {
        "tokens.txt": some_text, "counts.txt": some_text, "tokens.parquet": some_bytes}, _read_lists),
    Target("id map", _id_map, {"*": some_text}, lambda folder: read_id_map(folder / "id_map.csv")),
    Target("model folder", _model_folder, {
        "m/model.safetensors": mutations.some_safetensors, "m/a-1.safetensors": mutations.some_safetensors,
        "m/vocab.txt": some_text, "*": some_json}, lambda folder: _table(folder / "m")),
    Target("static model", _static_folder, {
        "s/model.safetensors": mutations.some_safetensors, "s/0/model.safetensors": mutations.some_safetensors,
        "*": some_json}, _read_static, share=0.5),
    Target("payload", _payloads, {"*": mutations.some_payload}, _read_payload, share=3),
    Target("host", lambda folder: [{"t.onnx": each} for each in _hosts()], {"*": some_model}, _rewrite, share=0.2),
    Target("inputs of a host", _inputs, {"*": mutations.some_zip},
           lambda folder: read_inputs(folder / "i.npz", make_host(TABLE)), share=0.5),
    Target("manifest", _manifests, {"*": some_json}, lambda folder: read_manifest(folder)),
    Target("record", _decisions, {"*": some_json}, lambda folder: read_decision(folder / "selection.json")),
    Target("hand-over", lambda folder: [_handed_over(folder)], {
        "out/payload.safetensors": mutations.some_payload, "out/manifest.json": some_json,
        "out/selection.json": some_json, "out/model.onnx": some_bytes, "out/tokens.txt": some_text,
    }, _examine, share=0.2),
    Target("configuration file", _pools, {"*": some_json}, _read_pool, share=0.4, short=False),
    Target("settings", _words, {"*": some_text}, _read_words, share=0.4, short=False),
]  # fmt: skip


def clear(folder: Path) -> None:
    """Empty a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
