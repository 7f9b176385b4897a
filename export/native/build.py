"""Builds the native library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from eigenselect.export.native import LIBRARY

SOURCES = Path(__file__).parent

HEADER = "onnxruntime_c_api.h"

SYSTEM = (Path("/usr/include"), Path("/usr/local/include"))

INSIDE = ("", "onnxruntime", "onnxruntime/core/session", "include")
"""Where packages and release archives keep the header, below their folder."""

OLDEST_API = 17
"""Version of ONNX Runtime's C API with a parallel loop for operators: that of ONNX Runtime 1.17."""

CPU_FLAGS = ("-fPIC", "-fvisibility=hidden", "-ffp-contract=off")

GPUS = ("arch=compute_75,code=sm_75", "arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]")
"""What the CUDA kernels are compiled for; newer GPUs compile the last one's code when it is loaded."""


def headers(include: Path | None) -> Path:
    """The folder of ONNX Runtime's C header, in `include` or, without it, where systems keep it.

    Raises:
        ValueError: it is not there, or too old.
    """
    for folder in [base / inside for base in ([include] if include else SYSTEM) for inside in INSIDE]:
        if (folder / HEADER).is_file():
            text = (folder / HEADER).read_text(encoding="utf-8")
            version = re.search(r"^#define ORT_API_VERSION (\d+)", text, re.MULTILINE)
            if version is None or int(version[1]) < OLDEST_API:
                found = version[1] if version else "no version"
                raise ValueError(f"{folder / HEADER} has API {found}: it must be {OLDEST_API} or later")
            return folder
    raise ValueError(
        f"no {HEADER} in {include or ' or '.join(map(str, SYSTEM))}: install libonnxruntime-dev (Debian 13, Ubuntu "
        "24.10 and later), or unpack a release archive of ONNX Runtime and give its folder: make native ORT_INCLUDE=..."
    )


def compiler(cuda: bool) -> list[str]:
    """The command that compiles.

    Raises:
        ValueError: it is not installed.
    """
    host = os.environ.get("CXX") or "g++"
    if shutil.which(host) is None:
        raise ValueError(f"no C++ compiler {host}: install g++ (apt install g++), or name another one by CXX=...")
    if not cuda:
        return [host]
    if shutil.which("nvcc") is None:
        raise ValueError("no CUDA compiler nvcc: install the CUDA toolkit and put its bin folder on PATH")
    return ["nvcc", f"-ccbin={host}"]


def build(include: Path | None = None, *, cuda: bool = False, out: Path = LIBRARY) -> None:
    """Compile the library to `out`, with kernels for the CPU and, with `cuda`, for CUDA.

    Raises:
        ValueError: a compiler or the header is missing, or compiling fails.
    """
    command = compiler(cuda)
    flags = ["-std=c++17", "-O3", "-shared", f"-I{headers(include)}"]
    sources = ["ops.cc", "decode.cc"]
    if cuda:
        flags += ["-DEIGENSELECT_CUDA", f"-Xcompiler={','.join(CPU_FLAGS)}", *(f"-gencode={gpu}" for gpu in GPUS)]
        sources += ["decode.cu"]
    else:
        flags += CPU_FLAGS
    made = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        run = subprocess.run([*command, *flags, *(str(SOURCES / name) for name in sources), "-o", made], check=False)
        if run.returncode:
            raise ValueError(f"{command[0]} failed: its messages are above")
        made.replace(out)
    finally:
        made.unlink(missing_ok=True)
