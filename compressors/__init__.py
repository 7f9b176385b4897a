"""Compression of embedding tables: the methods, the payloads they make, and how a payload is decoded."""

from compressors.base import Compressor
from compressors.identity import Identity
from compressors.kmeans import KMeans
from compressors.payload import Payload, load
from compressors.pca import PCA
from compressors.table import EmbeddingTable
from compressors.uniform import Uniform

__version__ = "0.1.0"

__all__ = ["PCA", "Compressor", "EmbeddingTable", "Identity", "KMeans", "Payload", "Uniform", "load"]
