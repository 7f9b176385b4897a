"""Model folders as Hugging Face tools leave them: the input embedding in its shard, and the tokenizer's tokens.

    config.json, model-00001-of-00002.safetensors, model.safetensors.index.json, tokenizer.json, ...

The table is found by its name (`selector.sources.tensors`), and only the shard that holds it is needed. A folder of the
cache (`models--OWNER--NAME`) is its snapshot, one with `modules.json` (sentence-transformers) the first module that has
weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from eigenselect.compressors.documents import parsed
from eigenselect.compressors.whole import inside
from eigenselect.compressors.words import LEAST, NAME, brief, listed, quoted
from eigenselect.selector.sources.foreign import HEAD_BYTES, not_fetched
from eigenselect.selector.sources.format import Found, Request, Tensor
from eigenselect.selector.sources.formats import FORMATS
from eigenselect.selector.sources.tensors import LIKELY, place, table_of
from eigenselect.selector.sources.vocabulary import vocabulary, with_tokens

T = TypeVar("T")

INDEXES = ("*.safetensors.index.json", "*.bin.index.json")
"""Files that say which shard holds which tensor, by preference."""

HEADED = re.compile(r"LM|ConditionalGeneration")
"""Of classes of models with an output head, unless their configuration says that it is not tied."""


def holds(path: Path) -> bool:
    """Whether a path is a model folder, or the index of its shards."""
    return path.is_dir() or path.name.endswith(".index.json")


def read(request: Request) -> Found:
    """The input embedding of a model folder, and its tokens.

    Rows without a token, as tables of language models have them at the end, are named `<padding 0>`, ...

    Raises:
        ValueError: no weights; the shard that is needed is not there, or not fetched; no table, or several.
    """
    folder = weights_folder(request.path)
    config = _config(folder)
    tensors = _tensors(folder, request.tensor)
    found = table_of(folder, tensors, request.tensor, config.get("vocab_size"))
    remarks = [*found.remarks] or _tied(config)
    ids = vocabulary(folder) or vocabulary(request.path)
    return with_tokens(Found(found.numbers, remarks=remarks), ids, request.tensor)


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a model folder, of the shards that are there.

    Raises:
        ValueError: no weights.
    """
    return _tensors(weights_folder(path), None)


def weights_folder(path: Path) -> Path:
    """The folder of the weights: of the file that is their index, of a cache's snapshot, of the first module.

    Raises:
        ValueError: no folder with weights.
    """
    folder = path if path.is_dir() else path.parent
    if (snapshots := folder / "snapshots").is_dir():
        main, revisions = folder / "refs" / "main", sorted(snapshots.iterdir())
        if main.is_file():
            folder = inside(snapshots, main.read_text(encoding="utf-8", errors="replace").strip())
        elif revisions:
            folder = revisions[0]
    for each in (folder, *_modules(folder)):
        if _shards(each):
            return each
    models = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.onnx"))
    cure = f"; of an ONNX model, give the file: {brief(models[0], NAME)}" if models else ""
    found = listed(sorted(file.name for file in folder.iterdir()), LEAST, ", ") or "nothing"
    raise ValueError(f"{folder}: no weights in this folder ({found}): give the file of the table{cure}")


def _shards(folder: Path) -> dict[Path, list[str]]:
    """The files of weights and, where there is an index, the tensors of each: those of the first format found."""
    for index in (index for pattern in INDEXES for index in sorted(folder.glob(pattern))):
        shards: dict[Path, list[str]] = {}
        for name, file in _weight_map(index).items():
            shards.setdefault(inside(folder, file), []).append(name)
        return shards
    for format in sorted(FORMATS.values(), key=lambda format: format.name != "safetensors"):
        if format.tensors is not None and (files := sorted(folder.glob(format.files))):
            return {file: [] for file in files}
    return {}


def _modules(folder: Path) -> list[Path]:
    """The folders of the modules of a sentence-transformers model."""
    path = folder / "modules.json"
    modules = _json(path, list) if path.is_file() else []
    return [inside(folder, module["path"]) for module in modules if isinstance(module, dict) and "path" in module]


def _weight_map(index: Path) -> dict[str, str]:
    found = _json(index, dict).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(file, str) and file for file in found.values()):
        raise ValueError(f"{index}: its weight_map does not name a file for each tensor: fetch it again")
    return found


def _json(path: Path, kind: type[T]) -> T:
    try:
        found = parsed(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({brief(error)}): fetch it again") from error
    if not isinstance(found, kind):
        raise ValueError(f"{path}: JSON, but no {kind.__name__}: fetch it again")
    return found


def _config(folder: Path) -> dict[str, Any]:
    """What the model says of itself; of one that takes more than text, what it says of its text."""
    path = folder / "config.json"
    found: dict[str, Any] = _json(path, dict) if path.is_file() else {}
    text = found.get("text_config")
    return found | text if isinstance(text, dict) else found


def _tensors(folder: Path, wanted: str | None) -> dict[str, Tensor]:
    """The tensors of the shards that are there.

    Raises:
        ValueError: the table is in one that is not.
    """
    tensors: dict[str, Tensor] = {}
    absent: dict[str, str] = {}
    for file, names in _shards(folder).items():
        if (why := _absence(file)) is None:
            found = _format(file)(file)
            if twice := [name for name in found if name in tensors and place(name) < LIKELY]:
                files = f"{tensors[twice[0]].file.name} and in {file.name}"
                raise ValueError(f"{folder}: {quoted(twice[0])} is in {files}: give one of the files")
            tensors |= found
        elif names:
            absent |= dict.fromkeys(names, f"{brief(file.name, NAME)}, which {why}")
        else:
            raise ValueError(f"{folder / brief(file.name, NAME)}: it {why}")
    needed = min(absent, key=place, default=None)
    if wanted is not None:
        needed = next((name for name in absent if fnmatchcase(name, wanted)), None)
    if needed is not None and (wanted or place(needed) < min(map(place, tensors), default=LIKELY)):
        raise ValueError(f"{folder}: {quoted(needed)} is in {absent[needed]}")
    return tensors


def _absence(file: Path) -> str | None:
    """What is wrong with a shard, and the cure; None for one that is there."""
    if not file.is_file():
        return "is not in the folder: fetch it too"
    with file.open("rb") as opened:
        refusal = not_fetched(opened.read(HEAD_BYTES))
    return None if refusal is None else f"is {refusal}"


def _format(file: Path) -> Callable[[Path], Mapping[str, Tensor]]:
    """The reader of a shard's tensors."""
    for format in FORMATS.values():
        if format.tensors is not None and file.match(format.files):
            return format.tensors
    raise ValueError(f"{file}: a shard of a format that is not read: give a folder of .safetensors")


def _tied(config: dict[str, Any]) -> list[str]:
    """What is to be said of an output head that is not stored apart."""
    headed = HEADED.search(str(config.get("architectures")))
    if not config.get("tie_word_embeddings", headed):
        return []
    return ["The model's output head is tied to it, and takes the compressed table too."]
