"""Names of a model: which graph defines each, and what uses it, through the bodies of If, Loop and Scan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx

STANDARD = ("", "ai.onnx")
"""Domains of the standard operators."""


@dataclass(eq=False)
class Scope:
    """One graph of a model.

    Attributes:
        graph: the graph.
        outer: the scope around it; None for the main graph.
        holder: the node whose body the graph is; None for the main graph.
        made: node by the name of each of its outputs.
        stored: initializer by name.
        inputs: names of the graph's inputs, in order.
        memory: what walks over the model have found so far, by walk; all its scopes share it.
    """

    graph: onnx.GraphProto
    outer: Scope | None = None
    holder: onnx.NodeProto | None = None
    made: dict[str, onnx.NodeProto] = field(init=False)
    stored: dict[str, onnx.TensorProto] = field(init=False)
    inputs: list[str] = field(init=False)
    memory: dict[str, dict[Any, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.memory = defaultdict(dict) if self.outer is None else self.outer.memory
        self.made = {name: node for node in self.graph.node for name in node.output if name}
        self.stored = {tensor.name: tensor for tensor in self.graph.initializer}
        self.inputs = [value.name for value in self.graph.input]

    def owner(self, name: str) -> Scope | None:
        """The innermost scope, from this one outwards, that defines `name`; None if none does."""
        scope: Scope | None = self
        while scope is not None and not (name in scope.made or name in scope.stored or name in scope.inputs):
            scope = scope.outer
        return scope

    def sources(self, name: str, *ops: str) -> list[Name]:
        """What the inputs are of the node of this graph that gives `name`, if it is one of these standard operators."""
        node = None if name in self.stored else self.made.get(name)
        if node is None or not is_standard(node, *ops):
            return []
        return [(owner, of) for of in node.input if of and (owner := self.owner(of)) is not None]

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that gives `name`; None if none does."""
        owner = self.owner(name)
        return None if owner is None or name in owner.stored else owner.made.get(name)


Name = tuple[Scope, str]
"""A value of a model: sibling graphs may use one name for two of them."""


class Model:
    """Every name of a model, and who uses it. Built again after the model is changed.

    Attributes:
        scopes: the main graph first, each graph before those inside of it.
        uses: who reads each value, as (scope, node); the node is None where it is an output of that graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.scopes = list(_scopes(Scope(model.graph)))
        self.uses: dict[Name, list[tuple[Scope, onnx.NodeProto | None]]] = defaultdict(list)
        for scope in self.scopes:
            for node in scope.graph.node:
                for name in node.input:
                    self._use(scope, name, node)
            for output in scope.graph.output:
                self._use(scope, output.name, None)

    def _use(self, scope: Scope, name: str, node: onnx.NodeProto | None) -> None:
        owner = scope.owner(name) if name else None
        if owner is not None:
            self.uses[owner, name].append((scope, node))

    @property
    def main(self) -> Scope:
        """The main graph."""
        return self.scopes[0]

    def names(self) -> set[str]:
        """Every name of a value or a node, in whichever graph."""
        found: set[str] = set()
        for scope in self.scopes:
            found |= {*scope.made, *scope.stored, *scope.inputs, *(node.name for node in scope.graph.node)}
        return found


def _scopes(scope: Scope) -> Iterator[Scope]:
    yield scope
    for node in scope.graph.node:
        for attribute in node.attribute:
            for graph in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
                yield from _scopes(Scope(graph, scope, node))


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a model stores: initializers, and values of attributes, in whichever graph or function."""
    for scope in Model(model).scopes:
        yield from scope.graph.initializer
        for sparse in scope.graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _attribute_tensors(scope.graph.node)
    for function in model.functions:
        yield from _attribute_tensors(function.node)


def _attribute_tensors(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def is_standard(node: onnx.NodeProto, *ops: str) -> bool:
    """Whether `node` is one of these standard operators."""
    return node.op_type in ops and node.domain in STANDARD


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    """The attribute of that name."""
    return next((found for found in node.attribute if found.name == name), None)
