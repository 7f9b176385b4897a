"""Static embedding models: the folder with the payload in the place of its table, and an ONNX model of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import EmbeddingTable, Payload
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export import OnnxExport, StaticModel, verify_sentences
from eigenselect.export.tokens.sentences import made_texts
from eigenselect.export.tokens.static_model import CONFIG, PAYLOAD, TOKENIZER, Ids
from eigenselect.selector.decision.entries import ModelEntry
from eigenselect.selector.forms.form import Form
from eigenselect.selector.sources.static import StaticFolder, read

FOLDER, SENTENCES = "static_model", "sentences.onnx"


@dataclass(frozen=True, eq=False)
class Static(Form):
    """A folder of a static model.

    Attributes:
        path: the folder.
        given: what it holds.
    """

    name: ClassVar[str] = "static"
    files: ClassVar[tuple[str, ...]] = (SENTENCES, *(f"{FOLDER}/{each}" for each in (CONFIG, TOKENIZER, PAYLOAD)))

    path: Path
    given: StaticFolder

    @classmethod
    def of(cls, path: Path) -> Self | None:  # noqa: D102
        found = read(path) if path.is_dir() else None
        return None if found is None else cls(path, found)

    @property
    def table(self) -> tuple[Path, str | None]:  # noqa: D102
        if self.given.rows is None:
            return self.path, None
        return self.given.file, self.given.tensor  # alone: its rows are not those of the tokens beside it

    def check(self, table: EmbeddingTable, export: OnnxExport) -> None:  # noqa: D102
        if (table.n, table.d) != self.given.shape:
            raise ValueError(
                f"the static model's table is {self.given.shape} and {(table.n, table.d)} of it are read, which its "
                "tokenizer needs whole: drop table.keep and table.rows, or give the file of the table alone"
            )
        self.given.model(Dense(np.zeros((table.n, 1), np.float16)))  # the tokenizer's ids have rows
        if export.inputs is not None:
            _read_texts(export.inputs)

    def write(  # noqa: D102
        self, table: EmbeddingTable, payload: Payload, export: OnnxExport, folder: Path, rng: np.random.Generator
    ) -> ModelEntry:
        model = self.given.model(payload)
        model.save(folder / FOLDER)
        error = export.write_sentences(model.payload, folder / SENTENCES, rng)
        if export.inputs is None:
            ids, offsets = made_texts(model.payload.n, rng)
            texts = f"{len(offsets):,} texts of random tokens"
        else:
            ids, offsets = model.tokenize(_read_texts(export.inputs))
            texts = f"the {len(offsets):,} texts of {export.inputs}"
        cosines = self._cosines(table, model, ids, offsets)
        nbytes = sum(path.stat().st_size for path in (folder / FOLDER).iterdir())
        stored = (folder / FOLDER / PAYLOAD).stat().st_size
        return ModelEntry(
            form=self.name,
            files=[*self.files],
            nbytes=nbytes,
            nbytes_before=self.given.nbytes,
            measures={"sentence_cosine": float(cosines.mean()), "sentence_cosine_least": float(cosines.min())},
            says=(
                f"{FOLDER} takes {nbytes:,} bytes, {stored:,} of them the compressed rows and the others its "
                f"tokenizer; it took {self.given.nbytes:,} before. Vectors of {texts} have a cosine of "
                f"{cosines.mean():.4f} with those before, at least {cosines.min():.4f}; {SENTENCES} differs from numpy "
                f"by at most {error:.1e}."
            ),
        )

    def _cosines(self, table: EmbeddingTable, model: StaticModel, ids: Ids, offsets: Ids) -> npt.NDArray[np.floating]:
        """(b,) cosines of the vectors of texts before and after; 1 of a text without tokens, which has none."""
        used = np.unique(ids)
        rows = used if self.given.rows is None else self.given.rows[used]
        row_of = np.zeros(model.payload.n, np.int32)
        row_of[used] = np.arange(len(used))
        if not len(used):
            return np.ones(len(offsets))
        only = Dense(table.read(rows).astype(np.float32))
        before = replace(self.given, rows=row_of).model(only).pool(ids, offsets)
        found = np.einsum("ij,ij->i", before, model.pool(ids, offsets), dtype=np.float64)
        return np.where(before.any(axis=1), found, 1.0)

    @staticmethod
    def verify(folder: Path, payload: Payload, providers: Sequence[str], rng: np.random.Generator) -> str:  # noqa: D102
        model = StaticModel.load(folder / FOLDER)
        held = {array.tobytes() for array in model.payload.arrays().values()}
        if any(array.tobytes() not in held for array in payload.arrays().values()):
            raise ValueError(f"{FOLDER}/{PAYLOAD} does not hold the arrays of the payload")
        error = verify_sentences(model.payload, folder / SENTENCES, rng, providers)
        return f"{FOLDER} holds the payload; {SENTENCES} gives its sentence vectors to {error:.1e}"


def _read_texts(given: str) -> list[str]:
    """The texts of a file, one a line.

    Raises:
        ValueError: no such file, another one, or no text in it.
    """
    path = Path(given)
    if path.suffix != ".txt":
        raise ValueError(f"export.inputs = {given}: a static model is compared on texts, one a line of a .txt file")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"export.inputs = {given} cannot be read: {error}; give a text file in UTF-8") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"export.inputs = {given} has no text: write one a line")
    return texts
