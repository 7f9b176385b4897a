"""The export step of a selection: write the model, then refuse it unless it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.export.choices import OLDEST_OPSET, OPSET, OUTPUTS, TARGETS, TIED, Output, Target, Tied
from eigenselect.export.host.host import Host
from eigenselect.export.host.pruned import Kept
from eigenselect.export.host.rewrite import HostReport, rewrite_host
from eigenselect.export.host.several import TablesReport, rewrite_tables
from eigenselect.export.host.splice import opset_of
from eigenselect.export.operators.model import check_runtime, runs, save, write
from eigenselect.export.tokens.sentences import sentences_to_onnx, verify_sentences
from eigenselect.export.tokens.string_input import POLICIES, Words, check_policy, check_vocabulary, write_words
from eigenselect.export.verification.parity import Verification, available_providers, verify

CPU = ["CPUExecutionProvider"]
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class OnnxExport:
    """How the chosen payload is exported.

    Attributes:
        target: what the model is made for; see `export.operators.graph.Target`.
        output: type of the rows that the model gives, and the one that takes tokens; a host has a type of its own.
        opset: of the model.
        providers: execution providers that the model is verified on, all of which must be at hand; None for the CPU,
            and then CUDA too where it is at hand and the model is not made for a CPU.
        words: whether a second model is written, which takes tokens.
        oov: of that one, for a token that is not in the vocabulary: `error`, `zeros`, or the token whose row it gets;
            and of a host with `remap`, for the id of a token that was dropped.
        host: an ONNX model that the payload is put into as well; None takes the one that the table was read out of.
        tied: what to do if the host uses its table otherwise too; see `export.rewrite_host`.
        inputs: a .npz file of inputs to compare the host on, or a .txt file of texts, one a line, to compare a static
            model on; None makes some.
        remap: whether a host whose table was pruned goes on to take its old ids, by a map that is put into it.
    """

    target: Target = "portable"
    output: Output = "float32"
    opset: int = OPSET
    providers: Sequence[str] | None = None
    words: bool = False
    oov: str = "error"
    host: str | None = None
    tied: Tied = "refuse"
    inputs: str | None = None
    remap: bool = False

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"export.target = {self.target!r}: must be one of {', '.join(TARGETS)}")
        if self.output not in OUTPUTS:
            raise ValueError(f"export.output = {self.output!r}: must be {' or '.join(OUTPUTS)}")
        if self.opset < OLDEST_OPSET or not runs(self.opset, "portable"):
            raise ValueError(
                f"export.opset = {self.opset}: must be at least {OLDEST_OPSET}, and ONNX Runtime {ort.__version__} "
                f"must load it; {OPSET} runs everywhere"
            )
        check_runtime(self.opset, self.target)
        if self.tied not in TIED:
            raise ValueError(f"export.tied = {self.tied!r}: must be {' or '.join(TIED)}")
        here = available_providers()
        if missing := [provider for provider in self.providers or () if provider not in here]:
            raise ValueError(f"export.providers names {missing}; this ONNX Runtime has {here}")
        for name, value in (("words", self.words), ("remap", self.remap)):
            if not isinstance(value, bool):
                raise ValueError(f"export.{name} = {value!r}: must be true or false")
        if not isinstance(self.oov, str):
            raise ValueError(f"export.oov = {self.oov!r}: must be error, zeros or a token, in quotes")
        if self.oov != "error" and not self.words and not self.remap:
            raise ValueError(
                f"export.oov = {self.oov!r} is for tokens, and no model takes them: add export.words=true, or "
                "export.remap=true for a host whose table is pruned"
            )

    @property
    def verified_on(self) -> list[list[str]]:
        """The execution providers of each verification."""
        if self.providers is not None:
            return [[*self.providers]]
        return [CPU, [CUDA, *CPU]] if CUDA in available_providers() and self.target != "cpu" else [CPU]

    def check_tokens(self, tokens: Sequence[str] | None) -> None:
        """Raise a ValueError, before any work, unless what is asked for can be made of a table with these tokens."""
        if self.words:
            check_vocabulary(tokens, self.oov)
        elif self.remap:
            check_policy(tokens or (), self.oov)

    def check_host(self, host: Path, *tables: EmbeddingTable) -> None:
        """Raise a ValueError unless `host` holds the tables and can be rewritten: found out before the work."""
        opened, inputs = Host.open(host), None if self.inputs is None else Path(self.inputs)
        for table in tables:
            opened.table_of(table.n, table.d, table.read, self.tied, self.kept(table))
        opened.run(opened.feeds(inputs), inputs)
        check_runtime(opset_of(opened.model), self.target)

    def kept(self, table: EmbeddingTable) -> Kept | None:
        """Which rows of a host's table `table` has, and what becomes of the ids; None where it has all.

        Raises:
            ValueError: ids are to be mapped, and it has all.
        """
        if table.source_rows is None:
            if self.remap:
                raise ValueError("export.remap=true maps ids of a pruned table, and this one is whole: add table.keep")
            return None
        named = self.remap and self.oov not in POLICIES
        return Kept(table.source_rows, self.remap, (table.tokens or ()).index(self.oov) if named else self.oov)

    def rewrite(
        self, host: Path, payload: Payload, path: Path, recorded_error: float | None, kept: Kept | None
    ) -> HostReport:
        """Write `host` with `payload` in place of its table to `path`; see `export.rewrite_host`."""
        return rewrite_host(
            host,
            payload,
            path,
            tied=self.tied,
            target=self.target,
            inputs=None if self.inputs is None else Path(self.inputs),
            recorded_error=recorded_error,
            kept=kept,
        )

    def rewrite_tables(self, host: Path, payloads: Sequence[tuple[Payload, float | None]], path: Path) -> TablesReport:
        """Write `host` with each payload in place of its table to `path`; see `export.rewrite_tables`."""
        inputs = None if self.inputs is None else Path(self.inputs)
        return rewrite_tables(host, payloads, path, tied=self.tied, target=self.target, inputs=inputs)

    def write(self, payload: Payload, path: Path) -> None:
        """Write the model of `payload` as it is shipped to `path`.

        Raises:
            ValueError: none can be made.
        """
        write(payload, path, opset=self.opset, target=self.target, output=self.output)

    def __call__(self, payload: Payload, path: Path, rng: np.random.Generator) -> Verification:
        """Write `payload` as a model to `path` and verify the file; what the last verification measured.

        Raises:
            VerificationError: the file is not the payload.
        """
        self.write(payload, path)
        return [verify(payload, path, rng, providers, self.output) for providers in self.verified_on][-1]

    def write_words(self, model: Path, path: Path, tokens: Sequence[str], rng: np.random.Generator) -> Words:
        """Write the model that takes tokens, of the verified one that takes ids, to `path` and verify it.

        Raises:
            ValueError: the tokens do not fit one file.
            VerificationError: it does not give the rows of `model`.
        """
        return write_words(model, path, tokens, self.oov, rng, CPU)  # where strings are looked up

    def write_sentences(self, payload: Payload, path: Path, rng: np.random.Generator) -> float:
        """Write the model of sentences of `payload` to `path` and verify it; the largest difference from numpy.

        Raises:
            VerificationError: the file does not give the vectors of the payload.
        """
        save(sentences_to_onnx(payload, opset=self.opset, target=self.target), path)
        return [verify_sentences(payload, path, rng, providers) for providers in self.verified_on][-1]
