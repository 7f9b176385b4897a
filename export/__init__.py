"""Compressed tables as ONNX models, put into existing ones, and as torch modules, with the proof that each is right."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from export.encoder import Encoder
from export.handover import OnnxExport
from export.host import Host
from export.model import load, save, to_onnx
from export.parity import OnnxDecoder, Verification, VerificationError, available_providers, verify
from export.reader import embedding_table
from export.rewrite import HostReport, rewrite_host
from export.words import verify_words

if TYPE_CHECKING:
    from export.torch_module import CompressedEmbedding
    from export.torch_onnx import torch_to_onnx
    from export.torch_replace import replace_embeddings

__all__ = [
    "CompressedEmbedding",
    "Encoder",
    "Host",
    "HostReport",
    "OnnxDecoder",
    "OnnxExport",
    "Verification",
    "VerificationError",
    "available_providers",
    "embedding_table",
    "load",
    "replace_embeddings",
    "rewrite_host",
    "save",
    "to_onnx",
    "torch_to_onnx",
    "verify",
    "verify_words",
]

_TORCH = {
    "CompressedEmbedding": "export.torch_module",
    "replace_embeddings": "export.torch_replace",
    "torch_to_onnx": "export.torch_onnx",
}
"""What needs torch, which takes seconds to import: only who asks for it waits."""


def __getattr__(name: str) -> Any:
    if name not in _TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_TORCH[name]), name)
