"""EmbedLayerNormalization of ONNX Runtime, which looks words, places and types up and normalizes their sums."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from eigenselect.export.models.constants.tracer import Tracer
from eigenselect.export.models.lookups.lookup import Lookup
from eigenselect.export.models.scopes import Scope

WORDS = 2
"""Which input the table of words is."""


def embed_layer_norm(tracer: Tracer, scope: Scope, node: onnx.NodeProto) -> Lookup | None:
    """The lookup of words.

    They are looked up beside the node, which then gets them as its table, and their numbers as its ids: what else it
    does, and how it rounds, stays its own.
    """
    words = tracer.trace(scope, node.input[WORDS]) if len(node.input) > WORDS else None
    if words is None or len(words.shape) != 2:
        return None

    width = words.shape[1]

    def around(prefix: str, ids: str, rows: str) -> list[onnx.NodeProto]:
        def made(name: str, operator: str, *inputs: str, **attributes: int | list[int]) -> str:
            nodes.append(helper.make_node(operator, inputs, [prefix + name], name=prefix + name, **attributes))
            return prefix + name

        nodes: list[onnx.NodeProto] = []
        wide = made("wide", "Constant", value_ints=[-1, width])
        nought, one = made("0", "Constant", value_int=0), made("1", "Constant", value_int=1)
        number = made(
            "number", "Cast", made("range", "Range", nought, made("size", "Size", ids), one), to=TensorProto.INT32
        )
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        kept.input[0] = made("ids", "Reshape", number, made("shape", "Shape", ids))
        kept.input[WORDS] = made("table", "Reshape", rows, wide)
        return [*nodes, kept]

    return Lookup(node.input[0], words, (), around)
