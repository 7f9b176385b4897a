"""Compression of embedding tables: the methods, the payloads they make, and how a payload is decoded."""

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.compressors.methods.bands import Bands
from eigenselect.compressors.methods.blockwise import Blockwise
from eigenselect.compressors.methods.byte_codebook import ByteCodebook
from eigenselect.compressors.methods.dccl import DCCL
from eigenselect.compressors.methods.exact_rows import ExactRows
from eigenselect.compressors.methods.given import Given
from eigenselect.compressors.methods.identity import Identity
from eigenselect.compressors.methods.kmeans import KMeans
from eigenselect.compressors.methods.leverage_code import LeverageCode
from eigenselect.compressors.methods.light_token import LightToken
from eigenselect.compressors.methods.pca import PCA
from eigenselect.compressors.methods.product import ProductQuantization
from eigenselect.compressors.methods.residual import ResidualQuantization
from eigenselect.compressors.methods.spectral import Spectral
from eigenselect.compressors.methods.tensor_train import TTSVD
from eigenselect.compressors.methods.transform_code import TransformCode
from eigenselect.compressors.methods.trellis_code import TrellisCode
from eigenselect.compressors.methods.uniform import Uniform
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.storage import load

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
    "LeverageCode",
    "LightToken",
    "Payload",
    "ProductQuantization",
    "ResidualQuantization",
    "Spectral",
    "TransformCode",
    "TrellisCode",
    "Uniform",
    "load",
]
