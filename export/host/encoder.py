"""A transformer whose embedding table is given with each run: one session serves every candidate for the table."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from eigenselect.compressors.words import brief
from eigenselect.export.host.host import Host, start
from eigenselect.export.host.splice import free_prefix, replace_lookups
from eigenselect.export.models.external import write
from eigenselect.export.models.ids import graph_input
from eigenselect.export.models.reader import chosen, entries
from eigenselect.export.models.sessions import needed_inputs, signature
from eigenselect.export.models.tables import HostTable

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Encoder:
    """A model of token ids, its embedding table taken out. It may be run by several threads at once.

    Attributes:
        files: the model and its data files.
        table: (n, k) float32, the model's own table.
    """

    files: list[Path]
    table: Floats
    _session: ort.InferenceSession
    _ids: str
    _table: str
    _states: str

    @classmethod
    def open(cls, path: Path, longest: int) -> Encoder:
        """Read a model whose inputs are token ids and maybe their attention mask and token type ids.

        Args:
            path: the model; its table is the one that `embedding_table` takes.
            longest: ids of a text that it must be able to take.

        Raises:
            ValueError: not a valid model, no one table to choose, one that is used otherwise too, other inputs, no
                output (batch, sequence, h), or it does not run on `longest` ids.
        """
        host = Host.open(path)
        try:
            table = chosen(host.found, host.tables, None)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if table.others:
            raise ValueError(
                f"{path}: {table.description} is used by {', '.join(table.others)} too (a tied output head?), which "
                "would not see a candidate: export the model without it"
            )
        ids = next(name for place in table.places if (name := graph_input(place.scope, place.ids)) is not None)
        _check_inputs(host, ids)
        files, own = host.files, np.ascontiguousarray(entries(table), dtype=np.float32)
        name = _let_in(host, table)
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / path.name
            write(host.model, path.parent, written, ())
            session = start(written, path, threads=1)
        opened = cls(files, own, session, ids, name, "")
        return replace(opened, _states=opened._find_states(path, longest))

    def states(self, table: Floats, ids: Ids) -> Floats:
        """The first output of three dimensions.

        Args:
            table: (n, k) float32, looked up in place of the model's own.
            ids: (batch, sequence) int64 from 0 to n − 1; all of them are attended to, and are of the first type.

        Returns:
            (batch, sequence, h) float32.
        """
        (found,) = self._session.run([self._states], self._feeds(table, ids))
        states: Floats = found.astype(np.float32, copy=False)
        return states

    def _feeds(self, table: Floats, ids: Ids) -> dict[str, npt.NDArray[np.generic]]:
        feeds: dict[str, npt.NDArray[np.generic]] = {self._table: table}
        for value in self._session.get_inputs():
            if value.name != self._table:
                given = ids if value.name == self._ids else np.full_like(ids, _is_mask(value.name))
                feeds[value.name] = given.astype(DTYPES[value.type], copy=False)
        return feeds

    def _find_states(self, path: Path, longest: int) -> str:
        """Name of the output that is (batch, sequence, h) when the model is run."""
        ids = np.zeros((2, longest), dtype=np.int64)
        names: list[str] = [output.name for output in self._session.get_outputs()]
        try:
            found = self._session.run(names, self._feeds(self.table, ids))
        except Exception as error:  # ONNX Runtime has an exception class of its own for each reason
            raise ValueError(
                f"{path} does not run on 2 texts of {longest} tokens ({brief(error)}): export it with free batch "
                f"and sequence, and at least {longest} positions"
            ) from error
        for name, value in zip(names, found, strict=True):
            if isinstance(value, np.ndarray) and value.ndim == 3 and value.shape[:2] == ids.shape:
                return name
        shapes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in zip(names, found, strict=True))
        raise ValueError(
            f"{path} gives {shapes} on 2 texts of {longest} tokens: an output (batch, sequence, h) is needed, export "
            "the model with its last hidden state"
        )


DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Types of the inputs, as ONNX Runtime calls them."""

INTEGERS = (TensorProto.INT64, TensorProto.INT32)


def _is_mask(name: str) -> bool:
    return "mask" in name.lower()


def _check_inputs(host: Host, ids: str) -> None:
    """Refuse a model with an input that there is nothing to give to."""
    for value in needed_inputs(host.model):
        named = value.name == ids or any(word in value.name.lower() for word in ("mask", "type", "segment"))
        if not named or value.type.tensor_type.elem_type not in INTEGERS:
            raise ValueError(
                f"{host.path} has the input {value.name!r}: only token ids, an attention mask and token type ids of "
                f"int64 or int32 can be given, it takes {signature(host.model)}; export it with these alone"
            )


def _let_in(host: Host, table: HostTable) -> str:
    """Let an input give the rows of `table`, and say its name."""
    prefix = free_prefix(host.found.names())
    name = f"{prefix}table"
    count = 0

    def lookup(ids: str) -> list[onnx.NodeProto]:
        nonlocal count
        count += 1
        rows = f"{prefix}rows{count}"
        gather = helper.make_node("Gather", [name, ids], [rows], name=rows)
        if table.type == TensorProto.FLOAT:
            return [gather]
        cast = f"{prefix}cast{count}"
        return [gather, helper.make_node("Cast", [rows], [cast], name=cast, to=table.type)]

    shape = (table.n, table.d)
    replace_lookups(host.found, table, prefix, lookup)
    host.model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return name
