"""What an export may be asked for. Names and numbers alone: a mistake in them is answered before ONNX is loaded."""

from __future__ import annotations

from typing import Literal, get_args

OPSET = 18
"""Newest opset whose operators all have CUDA kernels in the supported ONNX Runtime versions."""

OLDEST_OPSET = 13

Target = Literal["portable", "cpu", "cuda"]
"""What a model is made for. portable and cuda use operators with CUDA kernels only; cpu is the fastest on a CPU."""

TARGETS: tuple[str, ...] = get_args(Target)

Output = Literal["float32", "float16"]
"""Type of the rows that a model gives. float16 rows are the float32 ones rounded."""

OUTPUTS: tuple[str, ...] = get_args(Output)

Tied = Literal["refuse", "keep"]
"""What to do with a table that is used otherwise too."""

TIED: tuple[str, ...] = get_args(Tied)

SHORTEST = 1e-15
"""Length that a vector is divided by at least: one of a text without tokens stays zero."""
