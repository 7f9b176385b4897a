"""A payload as an ONNX model of sentences: ids of tokens in, one vector a sentence out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from eigenselect.compressors.payloads.base import Payload
from eigenselect.export.choices import OPSET, SHORTEST, Target
from eigenselect.export.operators.decode import decode_graph
from eigenselect.export.operators.graph import Graph, Node
from eigenselect.export.operators.model import model_of
from eigenselect.export.tokens.static_model import Ids, mean_rows
from eigenselect.export.verification.parity import OVERHEAD_BYTES, OnnxDecoder, VerificationError

MADE = 1_000
"""Texts that are made up where none are given."""

LONGEST = 32
"""Tokens of a text that is made up."""

LARGEST_ERROR = 1e-6
"""Largest difference of an entry of a vector of length 1 from that of numpy."""


def sentences_to_onnx(payload: Payload, *, opset: int = OPSET, target: Target = "portable") -> onnx.ModelProto:
    """The model `ids (tokens,), offsets (sentences,) int64 -> vectors (sentences, k) float32`, of length 1.

    A vector is the mean of the rows of a sentence's ids, divided by its length. Sentences follow each other in `ids`;
    `offsets` says where each begins, as for `torch.nn.EmbeddingBag`. Rows are summed before a matrix is applied to
    them: once a sentence, not once a token.

    Args:
        payload: of one row for each id of the tokenizer.
        opset: of the model.
        target: which operators are used, where there is a choice.

    Example:
        >>> import onnxruntime as ort
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> model = sentences_to_onnx(Dense(np.array([[3, 4], [0, 2]], np.float32)))
        >>> session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        >>> session.run(None, {"ids": np.array([0, 1, 1]), "offsets": np.array([0, 1])})
        [array([[0.6, 0.8],
               [0. , 1. ]], dtype=float32)]
    """
    summed = decode_graph(payload, "ids", bags="offsets", opset=opset, target=target)
    return model_of(_unit(summed), {"ids": "tokens", "offsets": "sentences"}, "sentences", payload.k, "float32")


def made_texts(n: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """Ids of 1 to `LONGEST` tokens each of `MADE` texts, of a vocabulary of n, and where each text begins."""
    lengths = rng.integers(1, LONGEST + 1, MADE)
    return rng.integers(0, n, lengths.sum()), np.cumsum(lengths) - lengths


def verify_sentences(payload: Payload, path: Path, rng: np.random.Generator, providers: Sequence[str]) -> float:
    """Check that the model `path` gives the vectors of numpy; the largest difference of an entry.

    Of texts that are made up, the last one without a token. The file is at most as much larger than the payload as that
    of a model of rows.

    Raises:
        VerificationError: it does not.
    """
    ids, offsets = made_texts(payload.n, rng)
    offsets = np.append(offsets, len(ids))
    found = OnnxDecoder(path, providers).run({"ids": ids, "offsets": offsets})
    expected = mean_rows(payload, ids, offsets, normalize=True)
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise VerificationError(f"{path.name} gives {found.dtype} of shape {found.shape}, not {expected.shape}")
    error = float(np.abs(found - expected).max())
    if not error <= LARGEST_ERROR:
        raise VerificationError(
            f"{path.name}: a vector differs by {error:.1e} from numpy's, allowed is {LARGEST_ERROR}"
        )
    limit = payload.nbytes + OVERHEAD_BYTES * payload.bands
    if path.stat().st_size > limit:
        raise VerificationError(f"{path.name} takes {path.stat().st_size} bytes, allowed are {limit}")
    return error


def _unit(graph: Graph) -> Graph:
    """The vectors that a graph gives, each divided by its length."""
    sums = graph.nodes[-1].output
    steps = (
        Node("Mul", (sums, sums), "%squares"),
        Node("ReduceSum", ("%squares", "last_axis"), "%power", attributes={"keepdims": 1}),
        Node("Sqrt", ("%power",), "%length"),
        Node("Max", ("%length", "shortest"), "%divisor"),
        Node("Div", (sums, "%divisor"), "%unit"),
    )
    arrays = {**graph.arrays, "last_axis": np.array([-1]), "shortest": np.array([SHORTEST], np.float32)}
    return replace(graph, nodes=(*graph.nodes, *steps), arrays=arrays)
