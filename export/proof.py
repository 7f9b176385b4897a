"""Proof that a rewritten model is the host with the decoded float table put in, and no larger than it should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from compressors.payload import Payload
from onnx import TensorProto, helper

from export.external import data_file, point
from export.parity import OVERHEAD_BYTES, RELATIVE_ERROR, VerificationError, session_bytes, widened_bytes
from export.scopes import Model, tensors
from export.splice import OVERRIDABLE_IR, Splice
from export.stored import nbytes
from export.trial import Feeds, Outputs, relative_error, run

ROUNDED_ERROR = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
"""Largest relative error where rows are rounded to so few bits: those of sums may go to a neighbour."""

FLOAT_TABLE = "eigenselect.float_table"
BLOCK_BYTES = 1 << 24

MEMORY_SHARE = 1.2
MEMORY_SLACK = 20_000_000
"""What loading may take: so much of the file, and so much beyond."""


@dataclass(frozen=True)
class Proof:
    """What `prove` measured; sizes in bytes.

    Attributes:
        relative_error: largest ‖rewritten − float‖_F / ‖float‖_F of any output, where float is the host with the
            decoded float table put in.
        file_bytes: size of the rewritten model, with its data file.
        constant_bytes: constants of the graph as the session optimised it.
        session_bytes: resident memory that loading it took, in a fresh process.
        expanded_bytes: by how much constants of the host, other than the table, grow when it is loaded.
    """

    relative_error: float
    file_bytes: int
    constant_bytes: int
    session_bytes: int
    expanded_bytes: int


def prove(payload: Payload, path: Path, splice: Splice, feeds: Feeds, others: int) -> tuple[Proof, Outputs]:
    """Check the rewritten model at `path`, whose folder is a temporary one; also gives its outputs.

    Args:
        payload: what was put in.
        path: the model.
        splice: where it was put.
        feeds: inputs to run on.
        others: what the file may take beside the payload, in bytes.

    Raises:
        VerificationError: naming the check that failed, with what was measured and what was allowed.
    """
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise VerificationError(f"{path.name}: the rewritten model is not valid: {error}; not written") from error
    reference = path.with_name("reference.onnx")
    own = _write_reference(payload, path, splice, reference)
    expected, expanded = _run(reference, feeds)
    found, constants = _run(path, feeds)
    report = Proof(
        relative_error=relative_error(found, expected),
        file_bytes=sum(file.stat().st_size for file in (path, data_file(path)) if file.exists()),
        constant_bytes=constants,
        session_bytes=session_bytes(path),
        expanded_bytes=max(0, expanded - own),
    )
    overhead = OVERHEAD_BYTES * payload.bands
    limits = {
        "relative_error": ROUNDED_ERROR.get(splice.type, RELATIVE_ERROR),
        "file_bytes": others + payload.nbytes + overhead,
        "constant_bytes": expanded + payload.nbytes + widened_bytes(payload) + overhead,
        "session_bytes": int(MEMORY_SHARE * (report.file_bytes + report.expanded_bytes)) + MEMORY_SLACK,
    }
    for name, limit in limits.items():
        measured = getattr(report, name)
        if not measured <= limit:  # a NaN fails too
            raise VerificationError(f"{path.name}: {name} is {measured}, allowed is {limit}: not written")
    return report, found


def _write_reference(payload: Payload, path: Path, splice: Splice, reference: Path) -> int:
    """Write the model at `path` with the decoded float table in place of the payload.

    Returns:
        Bytes of its constants other than the table.
    """
    model = onnx.load(path, load_external_data=False)
    _delete(model.graph.initializer, splice.prefix)
    own = sum(map(nbytes, tensors(model)))
    for scope in Model(model).scopes:
        for ids, rows in {*splice.lookups}:
            made = scope.made.get(rows)
            if made is not None and made.name.startswith(splice.prefix):
                at = next(i for i, node in enumerate(scope.graph.node) if rows in node.output)
                scope.graph.node.insert(at, helper.make_node("Gather", [FLOAT_TABLE, ids], [rows]))
        _delete(scope.graph.node, splice.prefix)
    table = model.graph.initializer.add(name=FLOAT_TABLE, data_type=splice.type, dims=[payload.n, payload.k])
    dtype = helper.tensor_dtype_to_np_dtype(splice.type)
    with data_file(reference).open("wb") as file:
        step = max(1, BLOCK_BYTES // (4 * payload.k))
        for start in range(0, payload.n, step):
            file.write(payload.read(slice(start, start + step)).astype(dtype).tobytes())
        point(table, reference, 0, file.tell())
    if model.ir_version < OVERRIDABLE_IR:
        model.graph.input.append(helper.make_tensor_value_info(FLOAT_TABLE, splice.type, table.dims))
    reference.write_bytes(model.SerializeToString())
    return own


def _delete(values: Any, prefix: str) -> None:
    for at in reversed([i for i, value in enumerate(values) if value.name.startswith(prefix)]):
        del values[at]


def _run(path: Path, feeds: Feeds) -> tuple[Outputs, int]:
    """Outputs, and bytes of the constants that the session makes of the model, other than the float table."""
    optimized = path.with_name("optimized.onnx")
    try:
        outputs = run(path, feeds, optimized)
    except Exception as error:  # ONNX Runtime has an exception class of its own for each reason
        raise VerificationError(f"{path.name}: does not run ({error}); not written") from error
    constants = tensors(onnx.load(optimized, load_external_data=False))
    total = sum(nbytes(tensor) for tensor in constants if tensor.name != FLOAT_TABLE)
    data_file(optimized).unlink(missing_ok=True)
    return outputs, total
