"""Compression of embedding tables: the methods, the payloads they make, and how a payload is decoded."""

from compressors.base import Compressor
from compressors.blockwise import Blockwise
from compressors.byte_codebook import ByteCodebook
from compressors.identity import Identity
from compressors.kmeans import KMeans
from compressors.light_token import LightToken
from compressors.payload import Payload
from compressors.pca import PCA
from compressors.spectral import Spectral
from compressors.storage import load
from compressors.table import EmbeddingTable
from compressors.uniform import Uniform

__version__ = "0.1.0"

__all__ = [
    "PCA",
    "Blockwise",
    "ByteCodebook",
    "Compressor",
    "EmbeddingTable",
    "Identity",
    "KMeans",
    "LightToken",
    "Payload",
    "Spectral",
    "Uniform",
    "load",
]
