"""Choose the best compressed form of an embedding table under a byte budget, and ship it as verified ONNX.

    import numpy as np
    import eigenselect

    table = eigenselect.read_table("glove.6B.50d.txt")
    payload = eigenselect.Uniform(bits=4).compress(table, np.random.default_rng(0))
    print(payload.nbytes, eigenselect.score(table, payload)["eos"])
    eigenselect.save(eigenselect.to_onnx(payload), "glove.onnx")

Each name is imported when it is first used: ONNX Runtime and torch take seconds, and few programs need all of them.
`load` reads a payload from its file; the rooms `eigenselect.compressors`, `.export` and `.selector` have more.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eigenselect.compressors import (
        DCCL,
        PCA,
        TTSVD,
        Bands,
        Blockwise,
        ByteCodebook,
        Compressor,
        EmbeddingTable,
        ExactRows,
        Given,
        Identity,
        KMeans,
        LeverageCode,
        LightToken,
        Payload,
        ProductQuantization,
        ResidualQuantization,
        Spectral,
        TransformCode,
        TrellisCode,
        Uniform,
        load,
    )
    from eigenselect.export import (
        CompressedEmbedding,
        CompressedEmbeddingBag,
        StaticModel,
        replace_embeddings,
        rewrite_host,
        save,
        sentences_to_onnx,
        to_onnx,
        torch_to_onnx,
    )
    from eigenselect.export.verification.parity import verify
    from eigenselect.selector.measures import score
    from eigenselect.selector.run.selecting import select_table
    from eigenselect.selector.sharing.hub import load_from_hub
    from eigenselect.selector.sources import read_table

from eigenselect.version import __version__

__all__ = [
    "DCCL",
    "PCA",
    "TTSVD",
    "Bands",
    "Blockwise",
    "ByteCodebook",
    "CompressedEmbedding",
    "CompressedEmbeddingBag",
    "Compressor",
    "EmbeddingTable",
    "ExactRows",
    "Given",
    "Identity",
    "KMeans",
    "LeverageCode",
    "LightToken",
    "Payload",
    "ProductQuantization",
    "ResidualQuantization",
    "Spectral",
    "StaticModel",
    "TransformCode",
    "TrellisCode",
    "Uniform",
    "__version__",
    "load",
    "load_from_hub",
    "read_table",
    "replace_embeddings",
    "rewrite_host",
    "save",
    "score",
    "select_table",
    "sentences_to_onnx",
    "to_onnx",
    "torch_to_onnx",
    "verify",
]

_HOMES = {
    "read_table": "eigenselect.selector.sources",
    "load_from_hub": "eigenselect.selector.sharing.hub",
    "score": "eigenselect.selector.measures",
    "select_table": "eigenselect.selector.run.selecting",
    "verify": "eigenselect.export.verification.parity",
    **dict.fromkeys(
        (
            "CompressedEmbedding",
            "CompressedEmbeddingBag",
            "StaticModel",
            "replace_embeddings",
            "rewrite_host",
            "save",
            "sentences_to_onnx",
            "to_onnx",
            "torch_to_onnx",
        ),
        "eigenselect.export",
    ),
}
"""Where a name is imported from; all others of `__all__` are in `eigenselect.compressors`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES.get(name, "eigenselect.compressors")), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
