"""The native kernels without ONNX Runtime: a library of their own, called through ctypes with torch's tensors."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from eigenselect.export.native import build

LIBRARY = "libkernels.so"

FACE = """
#include "dequantize_gather.h"

#define FACE extern "C" __attribute__((visibility("default")))

FACE int64_t call_bytes() { return sizeof(eigenselect::Call); }

FACE const char* on_cpu(const eigenselect::Call* call, const int64_t* rows) {
  eigenselect::decode(*call, rows, 0, call->count);
  return nullptr;
}

#ifdef EIGENSELECT_CUDA
FACE const char* on_cuda(const eigenselect::Call* call, void* stream) {
  return eigenselect::decode_on_cuda(*call, stream);
}
#endif
"""
"""What the library lets C see of `dequantize_gather.h`."""


class _Plane(ctypes.Structure):
    _fields_ = (("packed", ctypes.c_void_p), ("width", ctypes.c_int64), ("values", ctypes.c_int64))


class _Call(ctypes.Structure):
    """`Call` of `dequantize_gather.h`, field by field."""

    _fields_ = (
        ("plane", _Plane * 3),
        ("planes", ctypes.c_int),
        ("bits", ctypes.c_int),
        ("window", ctypes.c_int),
        ("lut", ctypes.c_void_p),
        ("levels", ctypes.c_void_p * 3),
        ("place", ctypes.c_void_p),
        ("half", ctypes.c_bool),
        ("scale", ctypes.c_void_p),
        ("zero_point", ctypes.c_void_p),
        ("ids", ctypes.c_void_p),
        ("wide_ids", ctypes.c_bool),
        ("count", ctypes.c_int64),
        ("n", ctypes.c_int64),
        ("dim", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        ("row_scale", ctypes.c_void_p),
        ("row_code", ctypes.c_void_p),
        ("row_level", ctypes.c_void_p),
    )


def compiled(folder: Path, capability: tuple[int, int] | None) -> Path:
    """The library in `folder`: CPU kernels and, with the compute capability of a GPU, CUDA kernels for it.

    Raises:
        ValueError: a compiler is missing, or fails.
    """
    face, out = folder / "face.cc", folder / LIBRARY
    face.write_text(FACE)
    command = build.compiler(cuda=capability is not None)
    sources = [build.SOURCES / "decode.cc"]
    if capability is None:
        command += build.CPU_FLAGS
    else:
        number = "{}{}".format(*capability)
        command += [f"-gencode=arch=compute_{number},code=sm_{number}", f"-Xcompiler={','.join(build.CPU_FLAGS)}"]
        command += ["-DEIGENSELECT_CUDA"]
        sources += [build.SOURCES / "decode.cu"]
    command += ["-std=c++17", "-O3", "-shared", f"-I{build.SOURCES}", "-o", str(out)]
    run = subprocess.run([*command, *map(str, [face, *sources])], capture_output=True, text=True, check=False)
    if run.returncode:
        raise ValueError(f"{command[0]} failed: {run.stderr.strip() or run.stdout.strip()}")
    return out


class Kernels:
    """The library's two operators on tensors of one device."""

    def __init__(self, library: Path) -> None:
        """Load it.

        Raises:
            ValueError: `_Call` is not what the library was compiled with.
        """
        self._library = ctypes.CDLL(str(library))
        self._library.call_bytes.restype = ctypes.c_int64
        found, ours = self._library.call_bytes(), ctypes.sizeof(_Call)
        if found != ours:
            raise ValueError(f"a Call has {found} bytes in dequantize_gather.h and {ours} in gpu_native.py")

    def lookup(self, packed: Tensor, lut: Tensor, ids: Tensor, dim: int) -> Tensor:
        """`DequantizeGather`: (len(ids), dim) of lut's type, float32 or float16."""
        call = _Call(planes=1, lut=lut.data_ptr(), half=lut.dtype == torch.float16, n=len(packed), dim=dim)
        call.plane[0] = _Plane(packed.data_ptr(), packed.shape[1], lut.shape[1])
        return self._run(call, ids, lut.dtype)

    def evenly_spaced(
        self, planes: Sequence[tuple[Tensor, int]], scale: Tensor, zero: Tensor, ids: Tensor, dim: int
    ) -> Tensor:
        """`DequantizeGatherU{bits}` of planes and their bits: (len(ids), dim) float32."""
        call = _Call(planes=len(planes), bits=sum(bits for _, bits in planes), n=len(planes[0][0]), dim=dim)
        call.scale, call.zero_point = scale.data_ptr(), zero.data_ptr()
        for i, (packed, bits) in enumerate(planes):
            call.plane[i] = _Plane(packed.data_ptr(), packed.shape[1], 8 // bits)
        return self._run(call, ids, torch.float32)

    def _run(self, call: _Call, ids: Tensor, dtype: torch.dtype) -> Tensor:
        out = torch.empty((len(ids), call.dim), dtype=dtype, device=ids.device)
        call.ids, call.wide_ids, call.count = ids.data_ptr(), ids.dtype == torch.int64, len(ids)
        call.out = out.data_ptr()
        if not out.numel():  # as in ops.cc: a grid of nothing cannot be launched
            return out
        if ids.is_cuda:
            run, beside = self._library.on_cuda, torch.cuda.current_stream().cuda_stream
        else:
            rows = ids.long()  # kept until the call is over
            run, beside = self._library.on_cpu, rows.data_ptr()
        run.restype = ctypes.c_char_p
        error = run(ctypes.byref(call), ctypes.c_void_p(beside))
        if error is not None:
            raise RuntimeError(error.decode())
        return out
