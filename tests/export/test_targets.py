"""The operators that are chosen for each target and opset: the same rows, whichever they are."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.export import to_onnx
from eigenselect.export.choices import TARGETS, Target
from eigenselect.export.operators.decode import decode_graph
from eigenselect.export.operators.functions import DOMAIN, dequantize_gather, dequantize_gather_linear
from tests.cases import Case, compress, forms, payload_of
from tests.export.graphs import model_of, run

every_form = pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)

ON_CUDA = {
    *("Add", "ArgMax", "Cast", "Concat", "Constant", "DequantizeLinear", "Div", "Equal", "Expand"),
    *("Flatten", "Floor", "Gather"),
    *("GatherElements", "Less"),
    *("MatMul", "Max", "Min", "Mul", "Reshape", "Shape", "Slice", "Sub", "Transpose", "Unsqueeze", "Where"),
}
"""Operators that ONNX Runtime's docs/OperatorKernels.md lists kernels of for the CUDAExecutionProvider."""


@every_form
@pytest.mark.parametrize(("opset", "target"), [(13, "cuda"), (13, "cpu"), (18, "cpu")])
def test_every_target_gives_the_rows_of_numpy(case: Case, opset: int, target: Target) -> None:
    payload = payload_of(case, "gaussian")
    n = payload.n
    for ids in (
        np.concatenate([np.arange(n), [-1, -n]]).reshape(2, -1),
        np.zeros((2, 0, 3), np.int32),
        np.array(n - 1, np.int32),
    ):
        expected = payload.decode(ids, NumpyOps())
        got = run(model_of(decode_graph(payload, "ids", "some.", opset=opset, target=target), payload.k, ids), ids)
        assert (got.dtype, got.shape) == (np.float32, expected.shape)
        if case.parity == "bit" and target != "cpu":
            np.testing.assert_array_equal(got, expected)
        else:  # planes are joined before they are scaled
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(initial=0))


@every_form
def test_other_targets_than_the_cpu_use_what_cuda_has(case: Case) -> None:
    portable, cuda = (to_onnx(payload_of(case, "gaussian"), target=target) for target in ("portable", "cuda"))
    assert portable == cuda
    nodes = [*cuda.graph.node, *(node for function in cuda.functions for node in function.node)]
    assert {node.op_type for node in nodes if node.domain != DOMAIN} <= ON_CUDA


def test_codes_beyond_the_range_of_float32_are_not_made() -> None:
    table = EmbeddingTable(np.array([[3e38, -3e38], [1e38, 2e38], [0, -1e38]], np.float32))
    for bits in (1, 4, 8):
        payload = compress(Case(Uniform(bits)), table)
        rows = payload.decode(np.arange(3), NumpyOps())
        assert np.isfinite(rows).all()
        for target in TARGETS:
            np.testing.assert_array_equal(run(to_onnx(payload, target=target), np.arange(3)), rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_functions_are_of_the_opset_of_the_model(opset: int) -> None:
    bodies = [dequantize_gather(opset, padded=False)]
    bodies += [dequantize_gather_linear(bits, opset, padded=False) for bits in range(1, 9)]
    assert {entry.version for body in bodies for entry in body.opset_import} == {opset}
