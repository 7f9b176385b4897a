"""Compressed tables as ONNX models, and the proof that such a model is right."""

from export.handover import OnnxExport
from export.model import load, save, to_onnx
from export.parity import OnnxDecoder, Verification, VerificationError, verify

__all__ = ["OnnxDecoder", "OnnxExport", "Verification", "VerificationError", "load", "save", "to_onnx", "verify"]
