"""The export step of a selection: write the model, then refuse it unless it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from compressors.payload import Payload
from onnx import helper

from export.graph import OLDEST_OPSET, OPSET, TARGETS, Target
from export.model import IR_VERSION, save, to_onnx
from export.parity import Verification, verify


@dataclass(frozen=True)
class OnnxExport:
    """How the chosen payload is exported.

    Attributes:
        target: what the model is made for; see `export.graph.Target`.
        opset: of the model.
        providers: execution providers that the model is verified on, all of which must be at hand.
    """

    target: Target = "portable"
    opset: int = OPSET
    providers: Sequence[str] = ("CPUExecutionProvider",)

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"export.target = {self.target!r}: must be one of {', '.join(TARGETS)}")
        if self.opset < OLDEST_OPSET or not _loads(self.opset):
            raise ValueError(
                f"export.opset = {self.opset}: must be at least {OLDEST_OPSET}, and ONNX Runtime {ort.__version__} "
                f"must load it; {OPSET} runs everywhere"
            )
        here = ort.get_available_providers()
        if missing := [provider for provider in self.providers if provider not in here]:
            raise ValueError(f"export.providers names {missing}; this ONNX Runtime has {here}")

    def __call__(self, payload: Payload, path: Path, rng: np.random.Generator) -> Verification:
        """Write `payload` as a model to `path` and verify the file.

        Raises:
            VerificationError: the file is not the payload.
        """
        save(to_onnx(payload, opset=self.opset, target=self.target), path)
        return verify(payload, path, rng, self.providers)


def _loads(opset: int) -> bool:
    """Whether this ONNX Runtime loads a model of `opset`: found out before the work, not after it."""
    ids = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [1]) for name in ("ids", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["ids"], ["same"])], "probe", ids[:1], ids[1:])
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", opset)])
    try:
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime has an exception class of its own for each reason
        return False
    return True
