"""The parts of `benchmarks/gpu.py` that compare rows. Each gives lines, and checks: a name and work that says how it
went, raises SkipTest where it cannot run here, and any other error where rows differ.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

import numpy as np
import torch
from torch import Tensor

from benchmarks import gpu_native
from benchmarks.gpu import ROOT
from eigenselect import CompressedEmbedding, Payload, score
from eigenselect.compressors import LightToken
from eigenselect.compressors.payloads.base import kinds
from eigenselect.compressors.payloads.bitpack import pack, planar, plane_widths, split
from eigenselect.compressors.payloads.mapped import Mapped
from eigenselect.compressors.payloads.torch_ops import TorchOps
from tests.cases import CASES, TABLES, Case, compress, decode, payload_of

Part = Iterator[str | tuple[str, Callable[[], str]]]

ROUNDED = 1e-6
"""How far a sum may be off, in parts of the largest entry: sums are made in another order."""

N = 300
"""Rows of the tables of random bytes, as of those of `tests/cases.py`."""


def machine(device: str, folder: Path) -> Part:
    """What all this runs on."""
    yield ""
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        yield f"- {gpu.name}, compute capability {gpu.major}.{gpu.minor}, {gpu.total_memory / 2**30:.0f} GiB"
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        yield f"- driver {(_output(query) or 'unknown').splitlines()[0]}, CUDA {torch.version.cuda} in torch"
    else:
        yield "- a dry run on a CPU: no line of this file is about a GPU"
    yield f"- nvcc: {(_output(['nvcc', '--version']) or 'not installed').splitlines()[-1]}"
    yield f"- Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    for package in ("torch", "triton", "numpy", "numba", "scipy", "onnx", "onnxruntime-gpu", "onnxruntime"):
        try:
            yield f"- {package} {version(package)}"
        except PackageNotFoundError:
            yield f"- {package}: not installed"


def payloads(device: str, folder: Path) -> Part:
    """Each method of `tests/cases.py`, and the kind that only models bring, decoded in torch, against numpy."""
    yield "every kind of payload is among them", _every_kind
    for case in CASES:
        yield case.id, partial(_payload, payload_of(case, "gaussian"), case.parity == "bit", device)
    yield "mapped", partial(_payload, _mapped(), True, device)
    yield "an id out of range ends the process", partial(_wrong_id, device)


def training(device: str, folder: Path) -> Part:
    """What is trained with torch comes out as well as on the CPU."""
    for case in CASES:
        if isinstance(case.compressor, LightToken) or getattr(case.compressor, "training", None) == "gumbel":
            yield case.id, partial(_trained, case, device)


def triton(device: str, folder: Path) -> Part:
    """The Triton kernel against indexing."""
    missing = "there is no GPU" if device == "cpu" else None if find_spec("triton") else "triton is not installed"
    if missing:
        yield "the kernel's rows", partial(_skip, missing)
        return
    for v, dim, dtype in product((1, 2, 4, 8), (1, 13, 300, 1500, 4096), (torch.float32, torch.float16)):
        yield f"{v} values a byte, {dim} columns, {dtype}", partial(_triton, v, dim, dtype, device)


def native(device: str, folder: Path) -> Part:
    """The native kernels against indexing, and evenly spaced codes against their formula."""
    built: list[gpu_native.Kernels] = []
    yield "nvcc builds the kernels", partial(_build, built, device, folder)
    if device == "cpu":
        yield "the CUDA kernels' rows", partial(_skip, "there is no GPU: the rows below are of the CPU kernels")
    if not built:
        yield "the kernels' rows", partial(_skip, "there is no library")
        return
    for v, dim, dtype in product((1, 2, 3, 4, 8, 16), (1, 13, 300, 4096), (torch.float32, torch.float16)):
        yield f"{v} values a byte, {dim} columns, {dtype}", partial(_native_lookup, built[0], v, dim, dtype, device)
    for bits, dim in product(range(1, 9), (1, 13, 300, 4096)):
        yield f"{bits} bits evenly spaced, {dim} columns", partial(_evenly_spaced, built[0], bits, dim, device)


def onnx_runtime(device: str, folder: Path) -> Part:
    """A payload of each composition of kinds, for each target, on ONNX Runtime's providers for the device."""
    names = ("CUDAExecutionProvider", "TensorrtExecutionProvider") if device == "cuda" else ("CPUExecutionProvider",)
    for name in names:
        if find_spec("onnxruntime") is None:
            yield name, partial(_skip, "onnxruntime is not installed")
            continue
        import onnxruntime as ort

        from eigenselect.export.choices import TARGETS

        if name not in ort.get_available_providers():
            yield name, partial(_skip, f"onnxruntime {ort.__version__} has it not")
            continue
        chosen = {_kinds(payload_of(case, "gaussian")): case for case in CASES}
        for case, target in product(chosen.values(), TARGETS):
            yield f"{name}, {target}: {case.id}", partial(_onnx, case, target, name)


def close(found: Tensor, expected: np.ndarray, exact: bool, limit: float = ROUNDED) -> float:
    """The largest difference in parts of the largest entry.

    Raises:
        ValueError: another shape or dtype, a difference where rows must be equal to the bit, or one above the limit.
    """
    rows = found.cpu().numpy()
    if (rows.shape, rows.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"{rows.dtype} {rows.shape} instead of {expected.dtype} {expected.shape}")
    if np.array_equal(rows, expected):
        return 0.0
    apart = np.abs(rows.astype(np.float64) - expected)
    off = float(apart.max() / np.abs(expected).max())
    if exact or not off <= limit:
        raise ValueError(f"{np.count_nonzero(apart)} of {apart.size} entries differ, by up to {off:.1e}")
    return off


def _skip(why: str) -> str:
    raise SkipTest(why)


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _kinds(payload: Payload) -> tuple[Any, ...]:
    """The payload's kind and those of its parts, nested as they are."""
    held = [getattr(payload, field.name) for field in fields(payload)]  # type: ignore[arg-type]  # a dataclass
    parts = [part for value in held for part in (value if isinstance(value, tuple) else (value,))]
    return payload.tag, *(_kinds(part) for part in parts if isinstance(part, Payload))


def _every_kind() -> str:
    seen = " ".join(str(_kinds(made)) for made in (*(payload_of(case, "gaussian") for case in CASES), _mapped()))
    missing = [tag for tag in kinds() if f"'{tag}'" not in seen]
    if missing:
        raise ValueError(f"none has {missing}")
    return f"{len(kinds())} kinds"


def _mapped() -> Payload:
    """Ids that share the rows of a payload: a static model has it, and no method makes it."""
    rows = np.random.default_rng(0).integers(0, N, 2 * N).astype(np.int32)
    return Mapped(payload_of(next(case for case in CASES if case.id == "uniform-b4"), "gaussian"), rows)


def _payload(made: Payload, exact: bool, device: str) -> str:
    expected, off = decode(made), 0.0
    module = CompressedEmbedding(made, device=device)
    half = CompressedEmbedding(made, device=device, dtype=torch.float16)
    for ids in (np.arange(made.n), np.array([[made.n - 1, 0], [7, 7]], np.int32), np.array([], np.int64)):
        there, rows = torch.from_numpy(ids).to(device), expected[ids]
        off = max(off, close(made.decode(there, TorchOps(device)), rows, exact), close(module(there), rows, exact))
        close(half(there), rows.astype(np.float16), exact, limit=2**-10)
    return f"{module.kernel}, {f'off by {off:.0e}' if off else 'equal to the bit'}"


def _wrong_id(device: str) -> str:
    if device == "cpu":
        raise SkipTest("it is an assertion of the device")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from benchmarks.gpu import make_importable; make_importable()\n"
        "import torch; from tests.cases import CASES, payload_of; from eigenselect import CompressedEmbedding\n"
        "made = payload_of(next(case for case in CASES if case.id == 'uniform-b4'), 'gaussian')\n"
        f"print(CompressedEmbedding(made).cuda()(torch.tensor([0, {N}]).cuda()).cpu())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if not run.returncode or "device-side assert" not in run.stderr:
        raise ValueError(f"exit code {run.returncode}: {run.stderr[-300:]}")
    return "a device-side assertion"


def _trained(case: Case, device: str) -> str:
    if device == "cpu":
        raise SkipTest("there is no GPU")
    table, key = TABLES["gaussian"], "reconstruction_error_relative"
    there = score(table, compress(case, table))[key]
    with mock.patch("torch.cuda.is_available", return_value=False):
        here = score(table, compress(case, table))[key]
    if not there <= 1.05 * here:
        raise ValueError(f"a relative error of {there:.4f}, and {here:.4f} on the CPU")
    return f"relative error {there:.4f}, on the CPU {here:.4f}"


def _random(v: int, dim: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Packed rows, lookup table and all rows."""
    draw = torch.Generator().manual_seed(v)
    packed = torch.randint(0, 256, (N, -(-dim // v)), dtype=torch.uint8, generator=draw).to(device)
    lut = torch.randn(256, v, generator=draw).to(device, dtype)
    return packed, lut, lut[packed.long()].flatten(-2)[:, :dim]


def _ids(device: str) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    sizes = {1: torch.int64, 70: torch.int32, 5_000: torch.int64, 0: torch.int64}
    return [torch.randint(0, N, (size,), dtype=dtype, generator=draw).to(device) for size, dtype in sizes.items()]


def _triton(v: int, dim: int, dtype: torch.dtype, device: str) -> str:
    from eigenselect.export.torch.triton_kernel import dequantize_gather

    packed, lut, rows = _random(v, dim, dtype, device)
    for ids in _ids(device):
        close(dequantize_gather(packed, lut, ids, dim), rows[ids.long()].cpu().numpy(), exact=True)
    return "equal to the bit"


def _build(built: list[gpu_native.Kernels], device: str, folder: Path) -> str:
    if _output(["nvcc", "--version"]) is None:
        if device == "cuda":
            raise SkipTest("nvcc is not installed")
        built.append(gpu_native.Kernels(gpu_native.compiled(folder, None)))
        raise SkipTest("nvcc is not installed: the CPU kernels alone are built")
    capability = torch.cuda.get_device_capability() if device == "cuda" else (9, 0)
    built.append(gpu_native.Kernels(gpu_native.compiled(folder, capability)))
    return "for compute capability {}.{}".format(*capability)


def _native_lookup(kernels: gpu_native.Kernels, v: int, dim: int, dtype: torch.dtype, device: str) -> str:
    packed, lut, rows = _random(v, dim, dtype, device)
    for ids in _ids(device):
        close(kernels.lookup(packed, lut, ids, dim), rows[ids.long()].cpu().numpy(), exact=True)
    return "equal to the bit"


def _evenly_spaced(kernels: gpu_native.Kernels, bits: int, dim: int, device: str) -> str:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (N, dim), dtype=np.uint8)
    scale, zero_point = np.float32(0.0137), np.uint8(101)
    rows = (codes.astype(np.float32) * np.float32(1 << (8 - bits)) - np.float32(zero_point)) * scale
    planes = [
        (torch.from_numpy(planar(pack(part, width), width, dim)).to(device), width)
        for part, width in zip(split(codes, bits), plane_widths(bits), strict=True)
    ]
    scales, zeros = torch.tensor(scale, device=device), torch.tensor(zero_point, device=device)
    for ids in _ids(device):
        found = kernels.evenly_spaced(planes, scales, zeros, ids, dim)
        close(found, rows[ids.cpu().numpy()], exact=True)
    return "equal to the bit"


def _onnx(case: Case, target: Any, provider: str) -> str:
    import onnxruntime as ort

    from eigenselect import to_onnx

    made = payload_of(case, "gaussian")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # Products of 10-bit mantissas are not what is compared; TensorRT has no switch for that here.
    settings = {"use_tf32": "0"} if provider == "CUDAExecutionProvider" else {}
    model = to_onnx(made, target=target).SerializeToString()
    session = ort.InferenceSession(model, options, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:
        raise ValueError(f"the session fell back to {session.get_providers()}")
    (found,) = session.run(None, {"ids": np.arange(made.n)})
    limit = 1e-3 if provider == "TensorrtExecutionProvider" else ROUNDED
    off = close(torch.from_numpy(found), decode(made), case.parity == "bit" and target != "cpu", limit)
    return f"off by {off:.0e}" if off else "equal to the bit"
