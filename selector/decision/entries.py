"""The parts of a decision's record, one dataclass for each object of `selection.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eigenselect.compressors import EmbeddingTable
from eigenselect.export import Verification
from eigenselect.export.tokens.string_input import Words
from eigenselect.selector.decision.lookup import TimedOn
from eigenselect.selector.decision.selection import Estimate
from eigenselect.selector.pool.zero_rows import ZeroRows


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A candidate that was measured.

    Attributes:
        name: of the candidate.
        compressor: class of its method.
        parameters: its settings.
        nbytes: bytes of its payload (what of it is stored).
        measures: metric key -> value; `..._stderr` are standard errors.
    """

    name: str
    compressor: str
    parameters: dict[str, Any]
    nbytes: int
    measures: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class LeftToConsumer:
    """A matrix that the layer which takes the vectors needs.

    Attributes:
        file: its name in the hand-over.
        shape: k, d.
        nbytes: its bytes, none of which are charged to the budget.
        use: what it is for.
    """

    file: str
    shape: list[int]
    nbytes: int
    use: str = "vectors @ matrix is the table; none of its bytes are charged"


@dataclass(frozen=True, kw_only=True)
class ChosenEntry(Entry):
    """The candidate that is handed over.

    Attributes:
        left_to_consumer: where it decodes to coordinates of its own, the way back.
        costs: metric key -> what its lookups cost, see `lookup`.
    """

    left_to_consumer: LeftToConsumer | None = None
    costs: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class RunnerUpEntry(Entry):
    """The next best that fits.

    Attributes:
        tie: whether the chosen one is no better than chance would have it.
        margin: half of the 95% interval of the difference of their scores; null where it is unknown.
    """

    tie: bool
    margin: float | None


@dataclass(frozen=True, kw_only=True)
class RejectedEntry:
    """A candidate that was not chosen.

    Attributes:
        name: of the candidate.
        reason: why.
        estimate: what a sample of rows says of it, where it was not measured on all.
    """

    name: str
    reason: str
    estimate: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class ScreeningEntry:
    """What samples of rows left out.

    Attributes:
        candidates: how many were not measured on all rows.
        rows: of the samples that say so, one or several.
        confidence: that of all their intervals together.
    """

    candidates: int
    rows: list[int]
    confidence: float

    @staticmethod
    def of(found: list[Estimate]) -> ScreeningEntry | None:
        """Of what was left out; None where nothing was."""
        if not found:
            return None
        rows = sorted({each.rows for each in found})
        return ScreeningEntry(candidates=len(found), rows=rows, confidence=found[0].confidence)


@dataclass(frozen=True, kw_only=True)
class CriterionEntry:
    """What another measure would have chosen.

    Attributes:
        chosen: name of that candidate.
        value: its value.
        value_of_choice: that of the candidate that was chosen; null where the measure is undefined for it.
        rank_of_choice: the place of that one, from 1; null likewise.
        ranked: how many candidates have the measure.
        tie: whether the one that was chosen is as good by it.
    """

    chosen: str
    value: float
    value_of_choice: float | None
    rank_of_choice: int | None
    ranked: int
    tie: bool


@dataclass(frozen=True, kw_only=True)
class UseEntry:
    """What another use of the table would have chosen.

    Attributes:
        criterion: metric key of its measure.
        chosen: name of that candidate.
        tie: whether the one that was chosen is as good by it.
    """

    criterion: str
    chosen: str
    tie: bool


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """The model whose table was compressed, handed over in the form that it came in.

    Attributes:
        form: which, `static` for example.
        files: of the hand-over.
        nbytes: that they take.
        nbytes_before: that the model took.
        measures: metric key -> what became of what the model gives.
        says: the same, in a sentence.
    """

    form: str
    files: list[str]
    nbytes: int
    nbytes_before: int
    measures: dict[str, float]
    says: str


@dataclass(frozen=True, kw_only=True)
class LookupEntry:
    """What the times of lookups rest on, and what their limit cost.

    Attributes:
        says: where they were measured, in a sentence.
        timed_on: the machine and the model of the chosen candidate's times.
        limit: how long a lookup may take, as given.
        best_without_limit: name of the candidate that would have been chosen without it, where that is another.
        criterion_lost: by how much that one is better by the criterion.
    """

    says: str
    timed_on: TimedOn
    limit: str | None = None
    best_without_limit: str | None = None
    criterion_lost: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoredEntry:
    """How a table is stored where it was read, when that is not float32.

    Attributes:
        dtype: of the numbers there.
        nbytes: that they take there, their scales included.
        says: the size of the chosen candidate beside that of float32 and of what is stored.
    """

    dtype: str
    nbytes: int
    says: str

    @staticmethod
    def of(table: EmbeddingTable, payload_nbytes: int) -> StoredEntry | None:
        """What is to be said of a payload of so many bytes; None for a table in float32."""
        if table.stored == "float32":
            return None
        share, rate = payload_nbytes / (4 * table.n * table.d), table.stored_nbytes / payload_nbytes
        beside = f"{rate:.1f} times smaller" if rate >= 1 else f"{1 / rate:.1f} times larger"
        says = (
            f"The choice takes {share:.1%} of float32, and is {beside} than the table is stored "
            f"({table.stored}, {table.stored_nbytes:,} bytes)."
        )
        return StoredEntry(dtype=table.stored, nbytes=table.stored_nbytes, says=says)


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """The table that was compressed.

    Attributes:
        path: where it was.
        n: rows.
        d: columns.
        rank: numerical rank.
        dtype: of its values.
        pruned_from: rows of the file, where only some were kept.
        zero_rows: what becomes of the rows of zeros, where there are some.
        stored: how it is stored where it was read, when that is not float32.
        remarks: what whoever uses it should know, in sentences.
        digest: of its content.
        settings: how it was read.
    """

    path: str
    n: int
    d: int
    rank: int
    dtype: str
    pruned_from: int | None = None
    zero_rows: ZeroRows | None = None
    stored: StoredEntry | None = None
    remarks: list[str] = field(default_factory=list)
    digest: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Verified(Verification):
    """What was verified of `model.onnx`; sizes in bytes.

    Attributes:
        eos_from_onnx: EOS of all rows that it gives.
    """

    eos_from_onnx: float


@dataclass(frozen=True)
class WordsEntry(Words):
    """The model that takes tokens.

    Attributes:
        use: what goes in and comes out.
    """

    use: str = "tokens (batch,) string -> vectors; its strings are not charged to the budget"
