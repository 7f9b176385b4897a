"""Compressed tables as ONNX models, and the proof that such a model is right."""

from export.handover import OnnxExport
from export.model import save, to_onnx
from export.parity import OnnxDecoder, Verification, VerificationError, available_providers, verify
from export.words import verify_words

__all__ = [
    "OnnxDecoder",
    "OnnxExport",
    "Verification",
    "VerificationError",
    "available_providers",
    "save",
    "to_onnx",
    "verify",
    "verify_words",
]
