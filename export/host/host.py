"""A model that may be rewritten: what is in it, and how it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from eigenselect.compressors.words import brief, listed, of_file
from eigenselect.export.choices import OLDEST_OPSET, Tied
from eigenselect.export.host import match
from eigenselect.export.host.pruned import Kept, takers
from eigenselect.export.host.splice import opset_of
from eigenselect.export.models.external import data_files
from eigenselect.export.models.functions import with_lookups_inlined
from eigenselect.export.models.scopes import Model
from eigenselect.export.models.sessions import Feeds, Outputs, give, load, made_inputs, read_inputs, run
from eigenselect.export.models.stored import read_model
from eigenselect.export.models.tables import HostTable, find_tables, rows_by_input
from eigenselect.export.models.unread import not_followed


@dataclass(frozen=True, eq=False)
class Host:
    """A model that may be rewritten.

    Attributes:
        path: its file.
        model: what the file holds, without its external data.
        found: its names.
        tables: its embedding tables.
    """

    path: Path
    model: onnx.ModelProto
    found: Model
    tables: list[HostTable]

    @classmethod
    def open(cls, path: Path) -> Host:
        """Read a model.

        Raises:
            ValueError: not a valid ONNX model of an opset that can be rewritten, or its data file cannot be used.
        """
        if not path.is_file():
            raise ValueError(f"{path}: no such file: correct the path")
        model = read_model(path)
        if opset_of(model) < OLDEST_OPSET:
            raise ValueError(
                f"{path} has opset {opset_of(model)}: must be at least {OLDEST_OPSET}; onnx.version_converter raises it"
            )
        try:
            data_files(model, path.parent)
            model = with_lookups_inlined(model)
            found = Model(model)
            return cls(path, model, found, find_tables(found, path.parent))
        except ValueError as error:
            raise ValueError(of_file(path, error)) from error

    @property
    def nbytes(self) -> int:
        """Size of its files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def files(self) -> list[Path]:
        """Its file and its data files."""
        return [self.path, *data_files(self.model, self.path.parent)]

    def table_of(self, n: int, k: int, read: match.Read, tied: Tied, kept: Kept | None = None) -> HostTable:
        """The table that has n rows, or `kept` ones, k columns and about the values that `read` gives.

        Raises:
            ValueError: none has, or several have; or it is used otherwise too and `tied` does not say to keep it; or
                new ids would not do in its place.
        """
        rows, others = None if kept is None else kept.rows, not_followed(self.found, self.tables)
        table = match.match(self.path, self.tables, n, k, read, others, rows)
        if table.others and tied == "refuse":
            raise ValueError(
                f"{self.path}: {table.description} is used by {listed(table.others, 60)} too (a tied output head?): it "
                "must stay in the file, which grows by the payload; tied=keep does that"
            )
        if kept is not None and not kept.remap:
            try:
                takers(self.found, table)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}") from error
        return table

    def feeds(self, inputs: Path | None) -> Feeds:
        """Inputs: those of a `.npz` file, or made ones.

        Raises:
            ValueError: they cannot be used or made.
        """
        if inputs is not None:
            return read_inputs(inputs, self.model)
        try:
            return made_inputs(self.model, rows_by_input(self.found, self.path.parent), np.random.default_rng(0))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def run(self, feeds: Feeds, inputs: Path | None) -> Outputs:
        """The outputs on `feeds`, which are of the file `inputs` or were made.

        Raises:
            ValueError: the model does not run on them.
        """
        session = start(self.path, self.path)
        try:
            return run(session, feeds)
        except Exception as error:
            which = "made inputs" if inputs is None else f"those of {inputs}"
            raise ValueError(f"{self.path} does not run on {which} ({brief(error)}): {give(self.model)}") from error


def start(path: Path, host: Path, threads: int | None = None) -> ort.InferenceSession:
    """Load the model at `path`, which is `host` or was made of it.

    Raises:
        ValueError: ONNX Runtime cannot; `host` is named.
    """
    try:
        return load(path, threads=threads)
    except Exception as error:  # ONNX Runtime has an exception class of its own for each reason
        why = brief(str(error).replace(str(path), path.name))
        raise ValueError(
            f"{host}: ONNX Runtime {ort.__version__} cannot load it ({why}): upgrade onnxruntime, or export the model "
            "with an older opset"
        ) from error
