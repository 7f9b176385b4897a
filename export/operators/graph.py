"""A decode as a graph: what `OnnxOps` writes, what passes rewrite, and what is then named and put into a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eigenselect.compressors.payloads.bitpack import plane_widths
from eigenselect.compressors.payloads.ops import Array
from eigenselect.export.choices import OPSET, Target
from eigenselect.export.operators.functions import DOMAIN, LOOKUP, NARROW, called, linear_bits, operator
from eigenselect.export.operators.trellis import trellis_windows


@dataclass(frozen=True)
class Node:
    """An operator applied to values.

    Attributes:
        op: operator.
        inputs: names of values.
        output: name of its value, until the graph is named.
        scope: start of its name.
        domain: of the operator.
        attributes: of the operator.
        made: nodes that it stands for, itself included. They count in the numbering, which so stays what it was before
            nodes became one.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    scope: str = ""
    domain: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    made: int = 1


@dataclass(frozen=True)
class Graph:
    """Nodes and stored arrays. A pass takes one and returns another.

    Attributes:
        nodes: in the order of execution; the last one gives the rows.
        arrays: the stored arrays by name, in the order of the file.
        prefix: of every name.
        opset: of the model it is for.
        target: of the model it is for.
    """

    nodes: tuple[Node, ...]
    arrays: Mapping[str, Array]
    prefix: str = ""
    opset: int = OPSET
    target: Target = "portable"

    def uses(self, name: str) -> int:
        """How often a value or an array is an input."""
        return sum(node.inputs.count(name) for node in self.nodes)

    def joined(self, op: str, inputs: tuple[str, ...], *nodes: Node) -> Graph:
        """With one operator in the place of several.

        Args:
            op: the operator.
            inputs: of it.
            nodes: those that it stands for, which no others use but for the last one, whose place and value it takes.
                Domain and attributes are those of the first.
        """
        first, *_, last = nodes
        one = Node(
            op, inputs, last.output, last.scope, first.domain, first.attributes, made=sum(node.made for node in nodes)
        )
        kept = (one if node is last else node for node in self.nodes if node is last or node not in nodes)
        return replace(self, nodes=tuple(kept))

    def without_unused(self) -> Graph:
        """Without arrays that no node has for an input."""
        return replace(self, arrays={name: array for name, array in self.arrays.items() if self.uses(name)})

    def named(self, start: int = 0, given: Mapping[str, str] | None = None) -> list[onnx.NodeProto]:
        """The nodes, named by scope, operator and number.

        Args:
            start: the first number.
            given: other names for what the graph is given, as the ids.
        """
        numbers = accumulate((node.made for node in self.nodes), initial=start - 1)
        next(numbers)
        names = dict(given or {})
        names |= {node.output: f"{node.scope}{node.op}_{at}" for node, at in zip(self.nodes, numbers, strict=True)}
        return [
            helper.make_node(
                node.op,
                [names.get(name, name) for name in node.inputs],
                [names[node.output]],
                name=names[node.output],
                domain=node.domain,
                **node.attributes,
            )
            for node in self.nodes
        ]

    @property
    def made(self) -> int:
        """Numbers that `named` takes."""
        return sum(node.made for node in self.nodes)

    def initializers(self) -> list[onnx.TensorProto]:
        """The stored arrays."""
        return [stored(name, array) for name, array in self.arrays.items()]

    def functions(self) -> list[onnx.FunctionProto]:
        """What the nodes of our domain mean."""
        padded: dict[str, bool] = {}
        narrow: list[bool] = []

        def need(name: str, inputs: Sequence[str], dim: int) -> None:
            inner = called(name, self.opset)
            padded[name] = padded.get(name, False) or (not inner and self._padded(name, inputs, dim))
            if name == LOOKUP:
                narrow.append(self.arrays[inputs[1]].shape[1] <= NARROW)
            for at, (of, numbers) in enumerate(inner):
                scales = of == LOOKUP and at > 0
                need(of, [inputs[number] for number in numbers], 1 if scales else dim)

        for node in self.nodes:
            if node.domain == DOMAIN:
                need(node.op, node.inputs[:-1], node.attributes["dim"])
        return [operator(name, self.opset, padded=wide, narrow=all(narrow)) for name, wide in sorted(padded.items())]

    def _padded(self, name: str, inputs: Sequence[str], dim: int) -> bool:
        """Whether the bytes of a row hold more columns than are wanted of them by the operator `name`."""
        if (windows := trellis_windows(name)) is not None:
            return bool(dim < self.arrays[inputs[0]].shape[1] * len(windows.starts))
        bits = linear_bits(name)
        if bits is None:
            packed, lut = (self.arrays[name] for name in inputs[:2])
            return bool(dim < packed.shape[1] * lut.shape[1])
        planes = zip(inputs, plane_widths(bits), strict=False)
        return any(dim < self.arrays[plane].shape[1] * 8 // width for plane, width in planes)


def stored(name: str, array: Array) -> onnx.TensorProto:
    """A stored array."""
    return numpy_helper.from_array(np.asarray(array, order="C"), name)


def exchanged(arrays: Mapping[str, Array], old: Collection[str], new: Mapping[str, Array]) -> dict[str, Array]:
    """`arrays` with those of `new` where the last of `old` was, and without the others of `old`."""
    found: dict[str, Array] = {}
    last = max((name for name in arrays if name in old), key=[*arrays].index)
    for name, array in arrays.items():
        if name == last:
            found |= new
        elif name not in old:
            found[name] = array
    return found
