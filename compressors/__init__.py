"""Compression of embedding tables: the methods, the payloads they make, and how a payload is decoded."""

from compressors.bands import Bands
from compressors.base import Compressor
from compressors.blockwise import Blockwise
from compressors.byte_codebook import ByteCodebook
from compressors.dccl import DCCL
from compressors.exact_rows import ExactRows
from compressors.given import Given
from compressors.identity import Identity
from compressors.kmeans import KMeans
from compressors.light_token import LightToken
from compressors.payload import Payload
from compressors.pca import PCA
from compressors.product import ProductQuantization
from compressors.residual import ResidualQuantization
from compressors.spectral import Spectral
from compressors.storage import load
from compressors.table import EmbeddingTable
from compressors.tensor_train import TTSVD
from compressors.trellis_code import TrellisCode
from compressors.uniform import Uniform

__version__ = "0.1.0"

__all__ = [
    "DCCL",
    "PCA",
    "TTSVD",
    "Bands",
    "Blockwise",
    "ByteCodebook",
    "Compressor",
    "EmbeddingTable",
    "ExactRows",
    "Given",
    "Identity",
    "KMeans",
    "LightToken",
    "Payload",
    "ProductQuantization",
    "ResidualQuantization",
    "Spectral",
    "TrellisCode",
    "Uniform",
    "load",
]
