"""Compressed tables as ONNX models, put into existing ones, and as torch modules, with the proof that each is right."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eigenselect.export.host.encoder import Encoder
from eigenselect.export.host.host import Host
from eigenselect.export.host.rewrite import HostReport, rewrite_host
from eigenselect.export.models.reader import embedding_table
from eigenselect.export.onnx_export import OnnxExport
from eigenselect.export.operators.model import load, save, to_onnx
from eigenselect.export.tokens.string_input import verify_words
from eigenselect.export.verify.parity import OnnxDecoder, Verification, VerificationError, available_providers, verify

if TYPE_CHECKING:
    from eigenselect.export.torch.module import CompressedEmbedding
    from eigenselect.export.torch.onnx import torch_to_onnx
    from eigenselect.export.torch.replace import replace_embeddings

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
    "CompressedEmbedding": "eigenselect.export.torch.module",
    "replace_embeddings": "eigenselect.export.torch.replace",
    "torch_to_onnx": "eigenselect.export.torch.onnx",
}
"""What needs torch, which takes seconds to import: only who asks for it waits."""


def __getattr__(name: str) -> Any:
    if name not in _TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_TORCH[name]), name)
