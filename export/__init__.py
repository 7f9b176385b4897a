"""Compressed tables as ONNX models, put into existing ones, and as torch modules, with the proof that each is right.

Each name is imported when it is first used: a torch module needs no ONNX Runtime, and a model needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eigenselect.export.host.encoder import Encoder
    from eigenselect.export.host.host import Host
    from eigenselect.export.host.pruned import Kept
    from eigenselect.export.host.rewrite import HostReport, rewrite_host
    from eigenselect.export.host.several import TablesReport, rewrite_tables
    from eigenselect.export.models.reader import embedding_table
    from eigenselect.export.onnx_export import OnnxExport
    from eigenselect.export.operators.model import load, save, to_onnx, write
    from eigenselect.export.tokens.sentences import sentences_to_onnx, verify_sentences
    from eigenselect.export.tokens.static_model import StaticModel
    from eigenselect.export.tokens.string_input import verify_words
    from eigenselect.export.torch.bag import CompressedEmbeddingBag
    from eigenselect.export.torch.module import CompressedEmbedding
    from eigenselect.export.torch.onnx import torch_to_onnx
    from eigenselect.export.torch.replace import replace_embeddings
    from eigenselect.export.verification.parity import (
        OnnxDecoder,
        Verification,
        VerificationError,
        available_providers,
        verify,
    )

__all__ = [
    "CompressedEmbedding",
    "CompressedEmbeddingBag",
    "Encoder",
    "Host",
    "HostReport",
    "Kept",
    "OnnxDecoder",
    "OnnxExport",
    "StaticModel",
    "TablesReport",
    "Verification",
    "VerificationError",
    "available_providers",
    "embedding_table",
    "load",
    "replace_embeddings",
    "rewrite_host",
    "rewrite_tables",
    "save",
    "sentences_to_onnx",
    "to_onnx",
    "torch_to_onnx",
    "verify",
    "verify_sentences",
    "verify_words",
    "write",
]

_HOMES = {
    "CompressedEmbedding": "torch.module",
    "CompressedEmbeddingBag": "torch.bag",
    "Encoder": "host.encoder",
    "Host": "host.host",
    "HostReport": "host.rewrite",
    "Kept": "host.pruned",
    "OnnxExport": "onnx_export",
    "StaticModel": "tokens.static_model",
    "embedding_table": "models.reader",
    "replace_embeddings": "torch.replace",
    "rewrite_host": "host.rewrite",
    "torch_to_onnx": "torch.onnx",
    "verify_words": "tokens.string_input",
    **dict.fromkeys(("TablesReport", "rewrite_tables"), "host.several"),
    **dict.fromkeys(("sentences_to_onnx", "verify_sentences"), "tokens.sentences"),
    **dict.fromkeys(("load", "save", "to_onnx", "write"), "operators.model"),
    **dict.fromkeys(
        ("OnnxDecoder", "Verification", "VerificationError", "available_providers", "verify"), "verification.parity"
    ),
}
"""Where in this room a name is imported from."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
