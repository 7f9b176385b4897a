"""Which of the tensors of a file or a model folder is the input embedding, and how its numbers are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from eigenselect.compressors.words import listed, quoted
from eigenselect.selector.sources.format import Found, Numbers, Tensor
from eigenselect.selector.sources.numbers import scaled

NAMES = (
    ("shared",),
    (
        *("embed_tokens", "wte", "word_embeddings", "word_embedding", "tok_embeddings", "tokens_embed"),
        *("token_embedding", "token_embeddings", "token_embd", "embed_in", "word_embed", "embed_words"),
    ),
    ("embeddings", "embedding", "embed", "emb", "w"),
)
"""What models call their input embedding, in the order in which they are looked for.

From the classes' `get_input_embeddings` in Hugging Face transformers, GGUF, model2vec and sentence-transformers.
"""

HEADS = re.compile(r"(.*\.)?(lm_head|embed_out|output|output_projection|predictions\.decoder|lm_head\.decoder)\.weight")
"""Output heads, which may be tied to the input embedding."""

LIKELY = len(NAMES)
"""Below it is the place of what is looked for."""

INTEGERS = re.compile(r"(?i)u?int|[iu]\d|bool|complex")
"""What the types of tensors are called that hold no floats."""

LENGTH = 150
"""Characters of the tensors that a message names."""

BLOCK_BYTES = 1 << 24


def table_of(where: Path, tensors: Mapping[str, Tensor], wanted: str | None = None, rows: int | None = None) -> Found:
    """The table of a file's tensors, with what is to be said of the output head beside it.

    Args:
        where: the file or folder.
        tensors: its tensors by name.
        wanted: name of the table, or a pattern (`*ngram*`) that only its name fits.
        rows: how many the model says that its vocabulary has.

    Raises:
        ValueError: no such tensor; none or several to choose from; numbers that cannot be read.
    """
    name = input_embedding(where, tensors, wanted, rows)
    try:
        numbers = scaled(name, tensors)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Found(numbers, remarks=_head(name, tensors))


def input_embedding(
    where: Path, tensors: Mapping[str, Tensor], wanted: str | None = None, rows: int | None = None
) -> str:
    """Name of the tensor that is the table; `table_of` says of what."""
    tables = _by_likelihood(tensors)
    if wanted is not None:
        return _named(where, wanted, tensors, tables)
    if len(tables) == 1:
        return tables[0]
    likely = [name for name in tables if place(name) < LIKELY]
    found = [name for name in likely if place(name) == place(likely[0])]
    of_vocabulary = [name for name in found if tensors[name].shape[0] == rows]
    found = of_vocabulary or found
    if len(found) != 1:
        count = len(found) or len(tables)
        raise ValueError(
            f"{where}: {count} tensors could be the table; name one with table.tensor; {_list(tensors, tables)}"
        )
    return found[0]


def _named(where: Path, wanted: str, tensors: Mapping[str, Tensor], tables: Sequence[str]) -> str:
    if wanted in tensors:
        return wanted
    fitting = [name for name in tables if fnmatchcase(name, wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(f"{where}: {len(fitting)} tensors fit {quoted(wanted)}; name one; {_list(tensors, fitting)}")
    raise ValueError(f"{where}: no tensor {quoted(wanted)} in {len(tensors)}; {_list(tensors, tables)}")


def place(name: str) -> int:
    """How soon a name is looked for: below `LIKELY` what models call their input embedding."""
    last = name.removesuffix(".weight").rpartition(".")[2].rpartition("/")[2]
    return next((place for place, names in enumerate(NAMES) if last in names), LIKELY)


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Rows and columns of those that can be tables, by name."""
    return {name: (tensors[name].shape[0], tensors[name].shape[1]) for name in _by_likelihood(tensors)}


def _by_likelihood(tensors: Mapping[str, Tensor]) -> list[str]:
    """The 2-D tensors of floats, and those of integers that have a likely name; such first, then the larger ones."""
    tables = [name for name, tensor in tensors.items() if len(tensor.shape) == 2]
    tables = [name for name in tables if place(name) < LIKELY or not INTEGERS.match(tensors[name].type)]
    return sorted(tables, key=lambda name: (place(name), -tensors[name].nbytes, name))


def _list(tensors: Mapping[str, Tensor], tables: Sequence[str]) -> str:
    described = [f"{quoted(name)} {[*tensors[name].shape]} {tensors[name].type}" for name in tables]
    return f"2-D float tensors: {listed(described, LENGTH, ', ') or 'none'}"


def _head(name: str, tensors: Mapping[str, Tensor]) -> list[str]:
    """What is to be said of an output head that is as large as the table."""
    table = tensors[name]
    heads = [other for other in tensors if other != name and HEADS.fullmatch(other)]
    heads = [other for other in heads if (tensors[other].shape, tensors[other].type) == (table.shape, table.type)]
    return [
        f"The output head {other}, {tensors[other].nbytes:,} bytes, "
        + (
            f"holds the numbers of {name} once more: tied, it takes the compressed table too."
            if _are_equal(table.read(), tensors[other].read())
            else f"is another table than {name} and stays as it is."
        )
        for other in heads
    ]


def _are_equal(a: Numbers, b: Numbers) -> bool:
    """Whether two tables hold the same bits, up to the first block that differs."""
    step = max(1, BLOCK_BYTES // (4 * a.shape[1]))
    spans = (slice(start, start + step) for start in range(0, len(a), step))
    return all(np.asarray(a[span]).tobytes() == np.asarray(b[span]).tobytes() for span in spans)
