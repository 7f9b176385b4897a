"""A host whose table loses rows: which are kept, and what becomes of the ids of the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from eigenselect.export.models.ids import graph_input
from eigenselect.export.models.scopes import Model, Name, is_standard
from eigenselect.export.models.sessions import Feeds
from eigenselect.export.models.tables import HostTable

Ids = npt.NDArray[np.int64]

MOVED = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Expand")
"""Operators that leave every id what it is."""

SIZES = ("Shape", "Size")
"""Operators that ids are not read by."""


@dataclass(frozen=True, eq=False)
class Kept:
    """Rows of a host's table that a payload has.

    Attributes:
        rows: (m,) int64, the host's row of each of the payload's.
        remap: whether the model goes on to take its old ids, by a map that is put into it.
        oov: then, for the id of a row that was dropped: `error`, `zeros` for a row of zeros, or the payload's row that
            it gets.

    >>> import numpy as np
    >>> Kept(np.array([4, 0]), remap=True, oov=1).map(5)  # rows of a table of five
    array([1, 1, 1, 1, 0], dtype=int32)
    """

    rows: Ids
    remap: bool = False
    oov: str | int = "error"

    def positions(self, n: int) -> Ids:
        """(n,) the new id of each old one, −1 where the row was dropped."""
        found = np.full(n, -1, np.int64)
        found[self.rows] = np.arange(len(self.rows))
        return found

    def map(self, n: int) -> npt.NDArray[np.int32]:
        """(n,) what is looked up for each old id: for a dropped one its row, −1 for zeros, or one that there is not."""
        dropped = {"error": len(self.rows), "zeros": -1}.get(str(self.oov), self.oov)
        found = self.positions(n)
        return np.where(found < 0, dropped, found).astype(np.int32)


def takers(model: Model, table: HostTable) -> set[str]:
    """The inputs of the model that are ids of `table`.

    Raises:
        ValueError: ids are computed, or they go to something else too, which would not know the new ones.
    """
    cure = "export.remap=true lets the model take its old ids"
    own = {(id(scope), name) for place in table.places for scope, name in (*place.steps, (place.scope, place.given))}
    found: set[str] = set()
    for place in table.places:
        source = graph_input(place.scope, place.ids)
        if source is None:
            raise ValueError(f"the ids {place.ids!r} of {table.description} are computed in the model: {cure}")
        found.add(source)
    waiting: list[Name] = [(model.main, name) for name in sorted(found)]
    while waiting:
        of = waiting.pop()
        for scope, node in model.uses[of]:
            if node is None:
                raise ValueError(f"ids of {table.description} are the output {of[1]!r} too: {cure}")
            if any((id(scope), name) in own for name in node.output) or is_standard(node, *SIZES):
                continue
            if not is_standard(node, *MOVED) or node.input[0] != of[1]:
                what = f"{node.op_type} {node.name or node.output[0]!r}"
                raise ValueError(f"ids of {table.description} go to {what} too, which expects the old ones: {cure}")
            waiting.append((scope, node.output[0]))
    return found


def kept_feeds(feeds: Feeds, names: set[str], n: int, kept: Kept, made: bool) -> Feeds:
    """Inputs of the host that look no dropped row up, if such an id is an error.

    Args:
        feeds: inputs.
        names: those of ids.
        n: rows of the host's table.
        kept: which are kept.
        made: whether the inputs may be changed.

    Raises:
        ValueError: they may not, and hold such an id.
    """
    changed = dict(feeds)
    for name in names & {*feeds}:
        ids = feeds[name] + n * (feeds[name] < 0)
        if made:
            changed[name] = kept.rows[ids % len(kept.rows)].astype(ids.dtype)
        elif kept.oov == "error" and (dropped := ids[kept.positions(n)[ids % n] < 0]).size:
            raise ValueError(f"the inputs hold the id {dropped[0]}, whose row was dropped: give others")
    return changed


def renumbered(feeds: Feeds, names: set[str], n: int, kept: Kept) -> Feeds:
    """The same inputs with new ids."""
    positions = kept.positions(n)
    return {name: positions[ids % n].astype(ids.dtype) if name in names else ids for name, ids in feeds.items()}


@dataclass(frozen=True, eq=False)
class Remapping:
    """The map of old ids to rows as it is put into a model.

    Attributes:
        kept: which rows are kept.
        n: rows of the host's table.
        prefix: of all names.
        type: element type of the rows.
    """

    kept: Kept
    n: int
    prefix: str
    type: int

    def initializers(self) -> list[onnx.TensorProto]:
        """What the nodes refer to."""
        held = [numpy_helper.from_array(self.kept.map(self.n), f"{self.prefix}map")]
        if self.kept.oov == "zeros":
            held += [
                numpy_helper.from_array(np.array(0, np.int32), f"{self.prefix}first"),
                numpy_helper.from_array(np.array([-1]), f"{self.prefix}columns"),
                helper.make_tensor(f"{self.prefix}zero", self.type, [], [0.0]),
            ]
        return held

    def before(self, ids: str, number: int) -> tuple[list[onnx.NodeProto], str]:
        """Nodes that give the payload's ids, and the name of these."""
        found = [self._node("Gather", [f"{self.prefix}map", ids], f"mapped{number}")]
        if self.kept.oov == "zeros":
            found.append(self._node("Max", [f"{self.prefix}mapped{number}", f"{self.prefix}first"], f"known{number}"))
        return found, found[-1].output[0]

    def after(self, rows: str, number: int) -> list[onnx.NodeProto]:
        """Nodes that make rows of dropped ids zeros."""
        if self.kept.oov != "zeros":
            return []
        first, columns, zero = (f"{self.prefix}{name}" for name in ("first", "columns", "zero"))
        unknown, row = (f"{self.prefix}{name}{number}" for name in ("unknown", "row"))
        return [
            self._node("Less", [f"{self.prefix}mapped{number}", first], f"unknown{number}"),
            self._node("Unsqueeze", [unknown, columns], f"row{number}"),
            self._node("Where", [row, zero, rows], f"with_zeros{number}"),
        ]

    def _node(self, operator: str, inputs: list[str], output: str) -> onnx.NodeProto:
        name = f"{self.prefix}{output}"
        return helper.make_node(operator, inputs, [name], name=name)
