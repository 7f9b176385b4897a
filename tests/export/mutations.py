"""Small models with a few things changed at random: what a reader of models must survive."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from eigenselect.export.models.constants import tracer
from eigenselect.export.models.lookups import places
from eigenselect.export.models.scopes import Model
from tests.cases import gaussian
from tests.export import test_fused
from tests.export.hosts import FORMS, make_host

TABLE = gaussian(20, 6)

NUMBERS = (0, 1, -1, 2, -2, 3, 7, 20, 120, 2**31, -(2**31), 2**40, 2**62, -(2**63))
SHAPES = ((), (120,), (1, 20, 6), (20, 1, 6), (2, 60), (6, 20), (20, 6, 1, 1, 1))
PLACES = ("f.bin", "f.onnx", "../x", "/etc/passwd", ".", "", "-1", "0", "10", "abc", "9" * 30)
ATTRIBUTES = (
    *("axis", "axes", "perm", "to", "block_size", "batch_dims", "bits", "allowzero", "value_int", "value_ints"),
    *("output_dtype", "gather_axis", "quantize_axis"),
)
OPERATORS = (*tracer.FORMS, *places.FORMS, "Constant", "Shape")


def seeds() -> list[bytes]:
    """A model of every form."""
    models = [make_host(TABLE, form) for form in FORMS]
    models += [test_fused.fused(*case) for case in test_fused.FUSED.values()]
    models += [test_fused.block_quantized(*case)[0] for case in ((22, 4, True), (2, 2, True), (2, 8, False))]
    return [model.SerializeToString() for model in [*models, test_fused.functions(TABLE)]]


class Mutation:
    """One change of a model; each takes what it changes from `random`."""

    def __init__(self, model: ModelProto, random: Random) -> None:
        self.random, self.model = random, model
        self.graph: GraphProto = random.choice([scope.graph for scope in Model(model).scopes])
        nodes = list(self.graph.node)
        self.node: NodeProto = random.choice(nodes) if nodes else self.graph.node.add(op_type="Identity")
        tensors = [*self.graph.initializer, *(a.t for node in nodes for a in node.attribute if a.HasField("t"))]
        self.tensor: TensorProto = random.choice(tensors) if tensors else self.graph.initializer.add(name="t")
        self.names = [name for node in nodes for name in (*node.input, *node.output)] + ["", "nowhere"]

    def input(self) -> None:
        if self.node.input:
            self.node.input[self.random.randrange(len(self.node.input))] = self.random.choice(self.names)

    def fewer_inputs(self) -> None:
        del self.node.input[self.random.randrange(len(self.node.input) + 1) :]

    def output(self) -> None:
        if self.node.output:
            self.node.output[0] = self.random.choice(self.names)

    def operator(self) -> None:
        self.node.op_type = self.random.choice(OPERATORS)

    def domain(self) -> None:
        self.node.domain = self.random.choice(["", "ai.onnx", "com.microsoft", "mine", "eigenselect"])

    def attribute(self) -> None:
        if self.node.attribute:
            of = self.random.choice(list(self.node.attribute))
            if of.ints:
                of.ints[self.random.randrange(len(of.ints))] = self.random.choice(NUMBERS)
            else:
                of.i = self.random.choice(NUMBERS)

    def another_attribute(self) -> None:
        value = self.random.choice([self.random.choice(NUMBERS), [self.random.choice(NUMBERS)], [1, 0, 2], 1.5, "x"])
        self.node.attribute.append(helper.make_attribute(self.random.choice(ATTRIBUTES), value))

    def again(self) -> None:
        self.graph.node.add().CopyFrom(self.node)

    def sooner(self) -> None:
        self.graph.node.insert(0, self.node)

    def size(self) -> None:
        if self.tensor.dims:
            self.tensor.dims[self.random.randrange(len(self.tensor.dims))] = self.random.choice(NUMBERS)

    def shape(self) -> None:
        del self.tensor.dims[:]
        self.tensor.dims.extend(self.random.choice(SHAPES))

    def type(self) -> None:
        self.tensor.data_type = self.random.randrange(26)

    def cut(self) -> None:
        self.tensor.raw_data = self.tensor.raw_data[: self.random.randrange(len(self.tensor.raw_data) + 1)]

    def external(self) -> None:
        self.tensor.data_location = TensorProto.EXTERNAL
        self.tensor.ClearField("raw_data")
        for key in ("location", "offset", "length"):
            self.tensor.external_data.add(key=key, value=self.random.choice(PLACES))

    def name(self) -> None:
        self.tensor.name = self.random.choice(self.names)

    def long_names(self) -> None:
        before, self.tensor.name = self.tensor.name, f"{self.tensor.name}{'y' * 400}\n[bold]"
        self.node.name = "x" * 500
        for node in self.graph.node:
            for at in [i for i, name in enumerate(node.input) if name == before]:
                node.input[at] = self.tensor.name


CHANGES: list[Callable[[Mutation], None]] = [
    change for name, change in vars(Mutation).items() if callable(change) and not name.startswith("_")
]


def mutated(seed: bytes, random: Random) -> bytes:
    """The model with some of its bytes, or one to six of its parts, changed."""
    if random.random() < 0.2:
        data = np.frombuffer(seed, np.uint8).copy()
        for _ in range(random.choice([1, 1, 2, 5])):
            data[random.randrange(len(data))] = random.randrange(256)
        start = random.randrange(len(data))
        return np.delete(data, slice(start, start + random.choice([0, 0, 1, 8]))).tobytes()
    model = onnx.load_from_string(seed)
    for _ in range(random.choice([1, 1, 1, 2, 3, 6])):
        random.choice(CHANGES)(Mutation(model, random))
    return model.SerializeToString()
