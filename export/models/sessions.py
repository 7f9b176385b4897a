"""Whole models run in ONNX Runtime: inputs to run them on, and how far apart their outputs are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper

from eigenselect.compressors.words import brief, quoted

Feeds = Mapping[str, npt.NDArray[Any]]

SIZES = (2, 16)
"""Sizes given to a free first dimension, and to any other."""


@dataclass(frozen=True)
class OutputDifference:
    """How far an output of the rewritten model is from the host's.

    Attributes:
        name: of the output.
        cosine: between the two, all finite entries in one row.
        max_abs_difference: largest |rewritten − host| of them.
    """

    name: str
    cosine: float
    max_abs_difference: float


def needed_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a run must be given: those without a stored default."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def signature(model: onnx.ModelProto) -> str:
    """Those inputs in words: name, type and shape of each."""
    parts = []
    for value in needed_inputs(model):
        tensor = value.type.tensor_type
        type_ = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else "no tensor"
        sizes = [dim.dim_param or str(dim.dim_value or "?") for dim in tensor.shape.dim]
        parts.append(f"{value.name} {type_} [{', '.join(sizes)}]")
    return "; ".join(parts)


def made_inputs(model: onnx.ModelProto, rows: Mapping[str, int], rng: np.random.Generator) -> Feeds:
    """Inputs for a model: ids below `rows` for those named there, ones for masks, zeros for other integers, and floats.

    Raises:
        ValueError: an input is no tensor of numbers: inputs must be given.
    """
    sizes: dict[str, int] = {}
    feeds = {}
    for value in needed_inputs(model):
        tensor = value.type.tensor_type
        if not tensor.elem_type or tensor.elem_type == onnx.TensorProto.STRING:
            raise ValueError(f"no input can be made for {value.name!r}: {give(model)}")
        shape = tuple(_size(dim, axis, sizes) for axis, dim in enumerate(tensor.shape.dim))
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if value.name in rows:
            ids = rng.integers(0, rows[value.name], shape)
            feeds[value.name] = _with_ends(ids, rows[value.name]).astype(dtype)
        elif "mask" in value.name.lower():
            feeds[value.name] = np.ones(shape, dtype)
        elif np.issubdtype(dtype, np.floating):
            feeds[value.name] = rng.standard_normal(shape).astype(dtype)
        else:
            feeds[value.name] = np.zeros(shape, dtype)
    return feeds


def _size(dim: onnx.TensorShapeProto.Dimension, axis: int, sizes: dict[str, int]) -> int:
    """A given size, or one for the dimension's name: a name has the same everywhere, `a + b` the sum."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    free = SIZES[min(axis, 1)]
    if not dim.dim_param:
        return free
    terms = [term.strip() for term in dim.dim_param.split("+")]
    return sum(int(term) if term.isdecimal() else sizes.setdefault(term, free) for term in terms)


def _with_ends(ids: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """The first and the last row are always among them, where there is room."""
    flat = ids.ravel()
    if len(flat):
        flat[0], flat[-1] = n - 1, 0
    return flat.reshape(ids.shape)


def give(model: onnx.ModelProto) -> str:
    """The cure where inputs cannot be made."""
    return f"give inputs=FILE.npz, written by numpy.savez, with {signature(model)}"


def read_inputs(path: Path, model: onnx.ModelProto) -> Feeds:
    """Inputs for a model from a `.npz` file.

    Raises:
        ValueError: not such a file, or not the model's inputs.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            feeds = {name: file[name] for name in file.files}
        if not all(isinstance(array, np.ndarray) for array in feeds.values()):
            raise ValueError("it holds other files than arrays")
    except Exception as error:  # of zip, zlib and numpy: there are many
        raise ValueError(f"inputs = {path} cannot be read as .npz ({brief(error)}): {give(model)}") from error
    needed = {value.name: value.type.tensor_type.elem_type for value in needed_inputs(model)}
    if {*needed} != {*feeds}:
        raise ValueError(f"inputs = {path} holds {brief(str(sorted(feeds)))}: {give(model)}")
    for name, type_ in needed.items():
        if type_ and feeds[name].dtype != helper.tensor_dtype_to_np_dtype(type_):
            raise ValueError(f"inputs = {path} holds {quoted(name)} as {feeds[name].dtype}: {give(model)}")
    return feeds


class Outputs(dict[str, npt.NDArray[np.float64]]):
    """Outputs of a run by name; those that are no tensors of numbers are left out."""


def load(path: Path, optimized: Path | None = None, threads: int | None = None) -> ort.InferenceSession:
    """Load the model at `path` as its users do; `optimized` is where to write the graph that the session runs.

    `threads` are those of a run; None leaves the choice to ONNX Runtime.

    Raises:
        Exception: ONNX Runtime's own, of several kinds.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        # A model of 2 GiB does not fit one file.
        key = "session.optimized_model_external_initializers_file_name"
        options.add_session_config_entry(key, f"{optimized.name}.data")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, feeds: Feeds) -> Outputs:
    """The outputs of a model.

    Raises:
        Exception: ONNX Runtime's own, of several kinds.
    """
    names = [output.name for output in session.get_outputs()]
    found = zip(names, session.run(names, dict(feeds)), strict=True)
    return Outputs(
        {
            name: value.astype(np.float64)
            for name, value in found
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        }
    )


def relative_error(found: Outputs, expected: Outputs) -> float:
    """Largest ‖found − expected‖_F / ‖expected‖_F of any output; infinite where shapes differ."""
    worst = 0.0
    for name, value in expected.items():
        other = found[name]
        if other.shape != value.shape:
            return float("inf")
        if np.array_equal(other, value, equal_nan=True):
            continue
        error = float(np.linalg.norm(other - value)) / (float(np.linalg.norm(value)) or 1.0)
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


def differences(found: Outputs, expected: Outputs) -> list[OutputDifference]:
    """How far each output is from what is expected."""
    compared = []
    for name, value in expected.items():
        a, b = found[name].ravel(), value.ravel()
        finite = np.isfinite(a) & np.isfinite(b)
        a, b = a[finite], b[finite]
        sizes = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosine = float(a @ b) / sizes if sizes else float(np.array_equal(a, b))
        compared.append(OutputDifference(name, cosine, float(np.abs(a - b).max(initial=0))))
    return compared
