"""Proof that an exported file is the payload: the checks without which nothing is handed over."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Projected
from eigenselect.export.choices import Output
from eigenselect.export.operators.builder import OnnxOps
from eigenselect.export.operators.data_file import PAGE_BYTES, data_file, model_bytes
from eigenselect.export.operators.trellis import trellis_table, trellis_windows

OVERHEAD_BYTES = 16 << 10
"""What a file, and the constants of a loaded session, may exceed the payload by for each band of rows."""

COLUMN_BYTES = 4
"""And for each column: a row of a matrix that is decoded is named by its id."""

RELATIVE_ERROR = 1e-6
"""Largest ‖onnx − numpy‖_F / ‖numpy‖_F: products may be summed in another order, lookups are bit-equal."""

HALF_ROUNDING = 2.0**-11
"""Largest relative error of a number rounded to float16, from 6.1e-5 to 65,504: its unit roundoff."""

MEMORY_SLACK = 32 << 20
"""What a session may take beyond twice the payload (the file's bytes and the tensors made of them)."""

SAMPLED_ROWS = 2_048

AT_ONCE = 256
"""Of the sampled rows, which lie all over a file that is mapped."""

FIRST_ROWS = 1 << 14
"""Rows of a model in two files whose optimised graph is looked at; where it has more columns, as many as these."""

HELD_BYTES = 1 << 28
"""Rows in float32 that a session reads of a mapped file before a new one takes its place: it holds what it has read."""


class VerificationError(RuntimeError):
    """An exported model is not what was chosen."""


@dataclass(frozen=True)
class Verification:
    """What `verify` measured; sizes in bytes.

    Attributes:
        rows: rows compared, the first and the last among them.
        max_abs_error: largest |onnx − numpy| among their entries; of float16 rows, what is beyond their rounding.
        relative_error: ‖onnx − numpy‖_F / ‖numpy‖_F over them; of float16 rows likewise.
        file_bytes: size of the file, with the data file beside it where there is one.
        payload_bytes: the payload's `nbytes`.
        constant_bytes: initializers of the graph as the session optimised it: an expanded table would show here.
        session_bytes: resident memory that the loaded file holds after a batch was looked up, in a fresh process.
        providers: execution providers that the session really used.
        output: type of the rows.
    """

    rows: int
    max_abs_error: float
    relative_error: float
    file_bytes: int
    payload_bytes: int
    constant_bytes: int
    session_bytes: int
    providers: list[str]
    output: str = field(default="float32", kw_only=True)


def available_providers() -> list[str]:
    """Execution providers of this machine's ONNX Runtime."""
    return list(ort.get_available_providers())


class OnnxDecoder:
    """An exported model, read by rows as a payload is."""

    def __init__(self, path: Path, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        """Open the file.

        Raises:
            VerificationError: ONNX Runtime cannot load the file, or a provider that was asked for is not used: it would
                fall back in silence.
        """
        self._name = path.name
        self._path, self._providers = path, list(providers)
        self._session = self._opened()
        self.providers: list[str] = self._session.get_providers()
        self._maps = data_file(path).exists() and self.providers == ["CPUExecutionProvider"]
        self._reached = 0
        if missing := [name for name in providers if name not in self.providers]:
            raise VerificationError(f"ONNX Runtime did not use {missing}, only {self.providers}: install that provider")

    def decode(self, ids: npt.NDArray[Any], name: str = "ids") -> npt.NDArray[np.floating[Any]]:
        """Rows `ids`, (batch, k) float32 or float16; `name` is the input that takes them.

        Raises:
            VerificationError: the model does not take them.
        """
        return self.run({name: ids})

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.floating[Any]]:
        """What the model gives of its inputs by name.

        Raises:
            VerificationError: the model does not take them.
        """
        try:
            vectors: npt.NDArray[np.floating[Any]] = self._session.run(None, dict(inputs))[0]
        except Exception as error:  # as above
            raise VerificationError(f"{self._name} gives no rows: {error}") from error
        return vectors

    def read(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.floating[Any]]:
        """Rows of a range with both ends given, or of increasing ids; of a mapped file the memory is bounded."""
        ids = np.arange(rows.start, rows.stop, dtype=np.int64) if isinstance(rows, slice) else rows
        found = self.decode(ids)
        if self._maps:
            self._reached += 4 * found.shape[1] * int(ids[-1] - ids[0] + 1)
            if self._reached > HELD_BYTES:
                self._reached, self._session = 0, self._opened()
        return found

    def _opened(self) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(self._path, _quiet(), providers=self._providers)
        except Exception as error:  # ONNX Runtime has an exception class of its own for each reason
            raise VerificationError(f"{self._name} cannot be loaded by ONNX Runtime: {error}") from error


def _quiet() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return options


def verify(
    payload: Payload,
    path: Path,
    rng: np.random.Generator,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    output: Output = "float32",
) -> Verification:
    """Check the model at `path` against the payload it was made from.

    ONNX Runtime's rows equal the numpy decode (first, last and random rows), those of float16 up to their rounding;
    the file is at most 16 KiB, and 4 bytes a column, larger than the payload, for each band of rows, and for each array
    in a data file a page; a loaded session holds the packed table and no expanded one.

    Raises:
        VerificationError: naming the check that failed, with what was measured and what was allowed.
    """
    ids = np.unique(np.concatenate([[0, payload.n - 1], rng.integers(0, payload.n, SAMPLED_ROWS)])).astype(np.int64)
    decoder = OnnxDecoder(path, providers)
    at_once = AT_ONCE if data_file(path).exists() else len(ids)
    got = np.concatenate([decoder.read(some) for some in np.split(ids, range(at_once, len(ids), at_once))])
    expected = payload.read(ids)
    if got.shape != expected.shape:
        raise VerificationError(f"the model gives rows of shape {got.shape}, the payload {expected.shape}")
    if got.dtype != output:
        raise VerificationError(f"the model gives rows of {got.dtype}, not of {output}")
    difference = np.abs(got.astype(np.float64) - expected)
    size = float(np.linalg.norm(expected.astype(np.float64)))
    if output == "float16":
        difference = _beyond_rounding(got, difference, size)
    report = Verification(
        rows=len(ids),
        max_abs_error=float(difference.max()),
        relative_error=float(np.linalg.norm(difference)) / (size or 1.0),
        file_bytes=model_bytes(path),
        payload_bytes=payload.nbytes,
        constant_bytes=constant_bytes(path, providers),
        session_bytes=session_bytes(path, min(payload.n, 1024)),
        providers=decoder.providers,
        output=output,
    )
    overhead = (OVERHEAD_BYTES + COLUMN_BYTES * payload.k) * payload.bands
    pages = PAGE_BYTES * len(payload.arrays()) if data_file(path).exists() else 0
    limits = {
        "relative_error": RELATIVE_ERROR,
        "file_bytes": payload.nbytes + overhead + pages,
        "constant_bytes": payload.nbytes + added_bytes(payload) + overhead,
        "session_bytes": 2 * payload.nbytes + MEMORY_SLACK,
    }
    for name, limit in limits.items():
        measured = getattr(report, name)
        if not measured <= limit:  # a NaN fails too
            raise VerificationError(f"{path.name}: {name} is {measured}, allowed is {limit}: not handed over")
    return report


def constant_bytes(path: Path, providers: Sequence[str] = ("CPUExecutionProvider",)) -> int:
    """Bytes of the initializers of the model at `path` as a session optimises it.

    A session that shows its graph writes all its constants. Of a model with a data file it is therefore given the first
    rows alone, as many as an expanded table of them would be seen by, and what was cut off is added again.
    """
    model = onnx.load(path, load_external_data=False)
    outside = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    whole = sum(map(_nbytes, outside))
    columns = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    for tensor in outside:
        _cut(tensor, path.parent, max(FIRST_ROWS, columns))
    left_out = whole - sum(map(_nbytes, outside))
    with tempfile.TemporaryDirectory() as folder:
        options, optimized = _quiet(), Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized)
        ort.InferenceSession(model.SerializeToString(), options, providers=[*providers])
        return left_out + sum(map(_nbytes, onnx.load(optimized, load_external_data=False).graph.initializer))


def _cut(tensor: onnx.TensorProto, folder: Path, rows: int) -> None:
    """Have an external tensor hold so many rows at most, the first ones, itself."""
    place = ExternalDataInfo(tensor)
    tensor.dims[0] = min(tensor.dims[0], rows)
    with (folder / place.location).open("rb") as data:
        data.seek(place.offset or 0)
        tensor.raw_data = data.read(_nbytes(tensor))
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _nbytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's values, wherever they lie."""
    return int(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _beyond_rounding(
    got: npt.NDArray[np.floating[Any]], difference: npt.NDArray[np.float64], size: float
) -> npt.NDArray[np.float64]:
    """What is left of the differences of float16 rows when half of a unit in the last place is taken off each.

    That is at most the difference of the two before either was rounded: nothing, where the decode is bit-equal.

    Raises:
        VerificationError: the rows, whose norm is `size`, lose more than float16 does within its range.
    """
    lost = float(np.linalg.norm(difference)) / (size or 1.0)
    if not lost <= HALF_ROUNDING + RELATIVE_ERROR:
        raise VerificationError(
            f"float16 rows differ by {lost:.1e} of their norm, allowed is {HALF_ROUNDING:.1e}: export.output=float32 "
            "takes entries outside of 6.1e-5 to 65,504; not handed over"
        )
    half_units: npt.NDArray[np.float64] = np.spacing(np.abs(got)).astype(np.float64) / 2
    return np.maximum(difference - half_units, 0)


def added_bytes(payload: Payload) -> int:
    """What a session may add to a payload: the tables of trellis codes, matrices as float32 where they are not.

    A matrix meets float32 activations. Rows in float16 may not be widened.
    """
    ops = OnnxOps()
    payload.decode("ids", ops)
    tables = (trellis_table(windows) for node in ops.nodes if (windows := trellis_windows(node.op)) is not None)
    matrices = (array for name, array in payload.arrays().items() if name.rpartition(".")[2] == "matrix")
    decoded = (part.matrix for part in _parts(payload) if isinstance(part, Projected))
    return (
        sum(4 * rows * columns for rows, columns in tables)
        + sum(array.nbytes for array in matrices if array.dtype == np.float16)
        + sum(4 * matrix.n * matrix.k for matrix in decoded if isinstance(matrix, Payload))
    )


def _parts(payload: Payload) -> Iterator[Payload]:
    """The payload and all that it is made of."""
    yield payload
    for _, value in payload._items():
        if isinstance(value, Payload):
            yield from _parts(value)


def session_bytes(path: Path, ids: int | None = None) -> int:
    """Resident memory that loading the model at `path` takes, and looking so many ids up, in a fresh process."""
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "eigenselect.export.verification.memory",
            str(path),
            *([] if ids is None else [str(ids)]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise VerificationError(f"{path.name} could not be loaded in a process of its own: {run.stderr.strip()[-500:]}")
    return int(run.stdout)
