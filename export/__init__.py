"""Compressed tables as ONNX models, put into existing ones, and the proof that such a model is right."""

from export.handover import OnnxExport
from export.host import Host
from export.model import load, save, to_onnx
from export.parity import OnnxDecoder, Verification, VerificationError, verify
from export.reader import embedding_table
from export.rewrite import HostReport, rewrite_host

__all__ = [
    "Host",
    "HostReport",
    "OnnxDecoder",
    "OnnxExport",
    "Verification",
    "VerificationError",
    "embedding_table",
    "load",
    "rewrite_host",
    "save",
    "to_onnx",
    "verify",
]
