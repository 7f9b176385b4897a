"""What is searched: a table, what a candidate may take, and the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from eigenselect.compressors import Compressor, EmbeddingTable, ExactRows
from eigenselect.compressors.device import on_device
from eigenselect.compressors.methods.exact_rows import exact_nbytes
from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.uses import UseName
from eigenselect.selector.measures import Measures, Reference, power
from eigenselect.selector.measures.moments import table_rank
from eigenselect.selector.pool.candidates import Room, check_settings, exact_rows, expand
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.pool.memory import fitting
from eigenselect.selector.pool.zero_rows import MOST, with_zero_rows
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.settings import PoolSettings


@dataclass(frozen=True, kw_only=True)
class Search:
    """A selection to be made.

    Attributes:
        table: the table.
        budget: bytes that a candidate may take.
        compressors: the candidates' methods with the exact bytes of each.
        left_out: settings that cannot be used on the table, cannot do what the host or `exact_rows` ask for, or need
            more memory than there is, each with why.
        criterion: metric key that decides.
        measures: what is measured.
        seed: of everything random.
        allowed_failures: share of the computed candidates that may fail.
        lookups: what measures the lookups of candidates, where that is asked for.
        limit: how long a lookup may take, which needs `lookups`.
        workers: processes that candidates are spread over.
        engine: what these are: `processes` of this machine, or those of a Ray cluster.
        screening: whether candidates of a large table that cannot win are left out by samples of its rows.
        device: what torch calls the device that measures and encodes, or None.
    """

    table: EmbeddingTable
    budget: int
    compressors: list[tuple[Compressor, int]]
    left_out: list[str]
    criterion: str = "eos"
    measures: Measures = field(default_factory=Measures)
    seed: int = 0
    allowed_failures: float = 0.25
    lookups: Lookups | None = None
    limit: Limit | None = None
    workers: int = 1
    engine: Literal["processes", "ray"] = "processes"
    screening: bool = False
    device: str | None = None

    @cached_property
    def digest(self) -> str:
        """Of the table."""
        return table_digest(self.table)

    @cached_property
    def reference(self) -> Reference:
        """What candidates are measured against."""
        return self.measures.reference(self.table)

    @property
    def keys(self) -> list[str]:
        """Every metric key that a candidate may have."""
        return self.measures.keys_of(weighs=self.measures.weighs(self.table.counts is not None))

    @cached_property
    def rank(self) -> int:
        """Numerical rank of the table."""
        with on_device(self.device):
            return table_rank(self.table)


def candidates(
    table: EmbeddingTable,
    budget: int,
    pool: PoolSettings | Sequence[Compressor],
    exact: Sequence[int | str] = (),
    *,
    host: bool = False,
    use: UseName | None = None,
    criterion: str = "eos",
    strict: bool = True,
) -> tuple[list[tuple[Compressor, int]], list[str]]:
    """The candidates of a pool on a table: what `Search` has as `compressors` and `left_out`.

    Args:
        table: the table.
        budget: bytes that a candidate may take.
        pool: settings, or the compressors themselves.
        exact: ids and tokens of the rows that every candidate keeps in float16.
        host: whether the candidates must keep the table's own columns, for a model that looks them up.
        use: what the rows are for. What is `trained` on them takes decode matrices up, and candidates leave them out;
            what is `frozen` expects the table's own columns.
        criterion: metric key that decides, which says how far codes are best whitened.
        strict: whether the only setting of a pool's entry must be usable on the table.

    Raises:
        ValueError: a pool that cannot be built or used, or held in memory; rows that the table does not have;
            columns of its own asked for with `trained`.
    """
    rows, zeros, trained = exact_rows(exact, table), table.zero_rows, use == "trained"
    left_out: list[str] = []
    if trained and (host or rows):
        raise ValueError(
            f"use = 'trained' leaves decode matrices out, and {'the model' if host else 'exact_rows'} needs the "
            "table's own columns: drop one of the two"
        )
    if isinstance(pool, PoolSettings):
        apart = len({*zeros.tolist()} - {*rows}) if len(zeros) <= MOST else 0
        room = Room(table.n, table.d, budget - exact_nbytes(len(rows), table.d), apart, trained, power(criterion))
        found = expand(pool.pool, room, pool.largest, left_out.append, strict=strict)
    else:
        found = _given(pool)
        if trained:
            found = [*{each.without_matrix.name: each.without_matrix for each in found}.values()]
    if rows:
        found = _in_own_dimension(found, "exact_rows", "in which no row can be exact", left_out.append)
        found = [ExactRows(rows, compressor) for compressor in found]
    found = with_zero_rows(found, zeros)
    if use == "frozen":
        found = _in_own_dimension(found, "use=frozen", "which nothing learns to read", left_out.append)
    if host:
        found = _in_own_dimension(found, "the host", "which the host does not expect", left_out.append)
    sized = [(compressor, compressor.nbytes(table.n, table.d)) for compressor in found]
    return fitting(sized, table.n, table.d, budget, left_out.append), left_out


def _given(compressors: Sequence[Compressor]) -> list[Compressor]:
    """The compressors, where that is what they are, each of a name of its own."""
    for each in compressors:
        if not isinstance(each, Compressor):
            raise ValueError(f"candidates holds {each!r}: each must be a compressor, Uniform(4) for example")
        check_settings(each)
    names = [each.name for each in compressors]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"candidates holds {twice[0]} a second time: drop one of the two")
    if not names:
        raise ValueError("candidates is empty: give at least one compressor, Uniform(4) for example")
    return [*compressors]


def _in_own_dimension(pool: list[Compressor], asker: str, why: str, report: Callable[[str], None]) -> list[Compressor]:
    """The candidates of the table's own dimension, which `asker` needs; `why` the others are left out is reported."""
    kept: list[Compressor] = []
    for compressor in pool:
        if compressor.keeps_dimension:
            kept.append(compressor)
        else:
            report(f"{compressor.name}: it decodes to coordinates of its own, {why}")
    if not kept:
        raise ValueError(
            f"{asker} needs candidates of the table's own dimension, and the pool has none: "
            "give PCA keep_dimension=true, or add other methods"
        )
    return kept
