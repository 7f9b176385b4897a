"""The export step of a selection: write the model, then refuse it unless it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from compressors.payload import Payload

from export.model import OPSET, save, to_onnx
from export.parity import Verification, verify

OLDEST_OPSET = 15
"""`Shape` with a start, which the function body uses."""


@dataclass(frozen=True)
class OnnxExport:
    """A target of the export.

    Attributes:
        opset: of the model.
        providers: execution providers that the model is verified on, all of which must be at hand.
    """

    opset: int = OPSET
    providers: Sequence[str] = ("CPUExecutionProvider",)

    def __post_init__(self) -> None:
        newest = onnx.defs.onnx_opset_version()
        if not OLDEST_OPSET <= self.opset <= newest:
            raise ValueError(f"export.opset = {self.opset}: must be from {OLDEST_OPSET} to {newest}")
        here = ort.get_available_providers()
        if missing := [provider for provider in self.providers if provider not in here]:
            raise ValueError(f"export.providers names {missing}; this ONNX Runtime has {here}")

    def __call__(self, payload: Payload, path: Path, rng: np.random.Generator) -> Verification:
        """Write `payload` as a model to `path` and verify the file.

        Raises:
            VerificationError: the file is not the payload.
        """
        save(to_onnx(payload, opset=self.opset), path)
        return verify(payload, path, rng, self.providers)
