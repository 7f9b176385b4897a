"""Proof that a rewritten model is the host with the decoded float table put in, and no larger than it should be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from eigenselect.compressors.payloads.base import Payload
from eigenselect.export.choices import Target
from eigenselect.export.host.pruned import Remapping
from eigenselect.export.host.splice import OVERRIDABLE_IR, Splice, opset_of
from eigenselect.export.models.scopes import Model, tensors
from eigenselect.export.models.sessions import Feeds, Outputs, load, relative_error, run
from eigenselect.export.models.stored import nbytes
from eigenselect.export.operators.data_file import data_file, model_bytes, point
from eigenselect.export.operators.model import write
from eigenselect.export.verification.parity import (
    COLUMN_BYTES,
    OVERHEAD_BYTES,
    RELATIVE_ERROR,
    OnnxDecoder,
    VerificationError,
    added_bytes,
    session_bytes,
)

ROUNDED_ERROR = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
"""Largest relative error where rows are rounded to so few bits: those of sums may go to a neighbour."""

FOLDED_ERROR = 1e-5
"""The same where a matrix is multiplied into a constant: sums are in another order, and layers may enlarge that."""

FLOAT_TABLE = "eigenselect.float_table"
BLOCK_BYTES = 1 << 24

LOOKUP_BYTES = 1 << 12
"""What the nodes of each further lookup of a table may take, for each band of rows."""

MEMORY_SHARE = 1.2
MEMORY_SLACK = 20_000_000
"""What loading may take: so much of the file, and so much beyond; or what the host takes."""


@dataclass(frozen=True)
class Proof:
    """What `prove` measured; sizes in bytes.

    Attributes:
        table_error: ‖F − X~‖_F / ‖X~‖_F of the float table F, which ONNX Runtime decodes, and numpy's X~; all rows.
        relative_error: largest ‖rewritten − float‖_F / ‖float‖_F of any output, where float is the host with F put in.
        file_bytes: size of the rewritten model, with its data file.
        constant_bytes: constants of the graph as the session optimised it.
        session_bytes: resident memory that it holds when it is loaded, in a fresh process.
        host_session_bytes: the same of the host: ONNX Runtime expands weights that are stored as integers.
    """

    table_error: float
    relative_error: float
    file_bytes: int
    constant_bytes: int
    session_bytes: int
    host_session_bytes: int


def prove(
    payload: Payload,
    put: Payload,
    target: Target,
    path: Path,
    splice: Splice,
    feeds: Feeds,
    host: Path,
    others: int,
    remapping: Remapping | None = None,
) -> tuple[Proof, Outputs]:
    """Check the rewritten model at `path`, whose folder is a temporary one; also gives its outputs.

    Args:
        payload: the table.
        put: what was put in: the payload, or what is left of it without the matrix that `splice.folded` has.
        target: what for.
        path: the model.
        splice: where it was put.
        feeds: inputs to run on.
        host: the model that it was made of, whose memory it may take.
        others: what the file may take beside the payload and the map, in bytes.
        remapping: the map of the ids, where there is one: the float table then has the rows that old ids get.

    Raises:
        VerificationError: naming the check that failed, with what was measured and what was allowed.
    """
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise VerificationError(f"{path.name}: the rewritten model is not valid: {error}; not written") from error
    reference = path.with_name("reference.onnx")
    mapped = None if remapping is None else remapping.kept.map(remapping.n)
    table_error = _write_reference(payload, target, path, splice, reference, mapped)
    expected, unlike_table = _run(reference, feeds)
    found, constants = _run(path, feeds)
    report = Proof(
        table_error=table_error,
        relative_error=relative_error(found, expected),
        file_bytes=model_bytes(path),
        constant_bytes=constants,
        session_bytes=session_bytes(path),
        host_session_bytes=session_bytes(host),
    )
    overhead = (OVERHEAD_BYTES + COLUMN_BYTES * payload.k + LOOKUP_BYTES * (len(splice.lookups) - 1)) * payload.bands
    overhead += 0 if mapped is None else mapped.nbytes
    folded = sum(each.values.nbytes for each in splice.folded)
    limits = {
        "table_error": RELATIVE_ERROR,
        "relative_error": FOLDED_ERROR if splice.folded else ROUNDED_ERROR.get(splice.type, RELATIVE_ERROR),
        "file_bytes": others + put.nbytes + folded + overhead,
        "constant_bytes": unlike_table + put.nbytes + added_bytes(put) + overhead,
        "session_bytes": max(int(MEMORY_SHARE * report.file_bytes) + MEMORY_SLACK, report.host_session_bytes),
    }
    for name, limit in limits.items():
        measured = getattr(report, name)
        if not measured <= limit:  # a NaN fails too
            raise VerificationError(f"{path.name}: {name} is {measured}, allowed is {limit}: not written")
    return report, found


def _write_reference(
    payload: Payload,
    target: Target,
    path: Path,
    splice: Splice,
    reference: Path,
    mapped: npt.NDArray[np.int32] | None,
) -> float:
    """Write the model at `path` with the decoded float table in place of the payload; also gives its error."""
    model = onnx.load(path, load_external_data=False)
    _delete(model.graph.initializer, splice.prefix)
    _delete(model.graph.input, splice.prefix)
    for scope in Model(model).scopes:
        for ids, rows in {*splice.lookups}:
            made = scope.made.get(rows)
            if made is not None and made.name.startswith(splice.prefix):
                at = next(i for i, node in enumerate(scope.graph.node) if rows in node.output)
                scope.graph.node.insert(at, helper.make_node("Gather", [FLOAT_TABLE, ids], [rows]))
        _delete(scope.graph.node, splice.prefix)
    model.graph.initializer.extend(numpy_helper.from_array(each.own, each.name) for each in splice.folded)
    n = payload.n if mapped is None else len(mapped)
    table = model.graph.initializer.add(name=FLOAT_TABLE, data_type=splice.type, dims=[n, payload.k])
    # Decoded as it will be at work: what a model makes of its rows can enlarge the rounding of a sum.
    decode = path.with_name("decode.onnx")
    write(payload, decode, opset=opset_of(model), target=target)
    decoder, error, size = OnnxDecoder(decode), 0.0, 0.0
    dtype = helper.tensor_dtype_to_np_dtype(splice.type)
    with data_file(reference).open("wb") as file:
        step = max(1, BLOCK_BYTES // (4 * payload.width))
        for start in range(0, payload.n, step):
            span = slice(start, min(start + step, payload.n))
            decoded, expected = decoder.read(span), payload.read(span).astype(np.float64)
            error += float(np.square(decoded - expected).sum())
            size += float(np.square(expected).sum())
            if mapped is None:
                file.write(decoded.astype(dtype).tobytes())
        if mapped is not None:
            for start in range(0, n, step):
                file.write(_rows(decoder, mapped[start : start + step], payload.n).astype(dtype).tobytes())
        point(table, reference, 0, file.tell())
    if model.ir_version < OVERRIDABLE_IR:
        model.graph.input.append(helper.make_tensor_value_info(FLOAT_TABLE, splice.type, table.dims))
    reference.write_bytes(model.SerializeToString())
    return math.sqrt(error / (size or 1.0))


def _rows(decoder: OnnxDecoder, ids: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.floating[Any]]:
    """Decoded rows; zeros for ids that there are not."""
    known = (ids >= 0) & (ids < n)
    return decoder.decode(np.where(known, ids, 0).astype(np.int64)) * known[:, None]


def _delete(values: Any, prefix: str) -> None:
    for at in reversed([i for i, value in enumerate(values) if value.name.startswith(prefix)]):
        del values[at]


def _run(path: Path, feeds: Feeds) -> tuple[Outputs, int]:
    """Outputs, and bytes of the constants that the session makes of the model, other than the float table."""
    optimized = path.with_name("optimized.onnx")
    try:
        outputs = run(load(path, optimized), feeds)
    except Exception as error:  # ONNX Runtime has an exception class of its own for each reason
        raise VerificationError(f"{path.name}: does not run ({error}); not written") from error
    constants = tensors(onnx.load(optimized, load_external_data=False))
    total = sum(nbytes(tensor) for tensor in constants if tensor.name != FLOAT_TABLE)
    data_file(optimized).unlink(missing_ok=True)
    return outputs, total
