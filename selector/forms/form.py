"""What a form of models can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from eigenselect.compressors import EmbeddingTable, Payload
from eigenselect.export import OnnxExport
from eigenselect.selector.decision.entries import ModelEntry


class Form(ABC):
    """A model at hand, of one form.

    Attributes:
        name: of the form.
        files: names of what it may write into a hand-over.
    """

    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def of(cls, path: Path) -> Self | None:
        """The model at `path`, if it has this form.

        Raises:
            ValueError: it has, and cannot be followed.
        """

    @property
    @abstractmethod
    def table(self) -> tuple[Path, str | None]:
        """What the reader of tables is given of it: the path, and the name of the tensor where it is needed."""

    @abstractmethod
    def check(self, table: EmbeddingTable, export: OnnxExport) -> None:
        """Raise a ValueError, before any work, unless the model can be handed over with that table compressed."""

    @abstractmethod
    def write(
        self, table: EmbeddingTable, payload: Payload, export: OnnxExport, folder: Path, rng: np.random.Generator
    ) -> ModelEntry:
        """Write the model with `payload` in the place of its table to `folder`, and verify it.

        Raises:
            VerificationError: it does not give what it should.
        """

    @staticmethod
    @abstractmethod
    def verify(folder: Path, payload: Payload, providers: Sequence[str], rng: np.random.Generator) -> str:
        """Verify what was handed over in `folder` with `payload` again; what was found, in a sentence.

        Raises:
            ValueError: it cannot be read.
            VerificationError: it does not give what it should.
        """
