"""What a selection for many tables is asked to do, with everything that its settings name read and checked."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eigenselect.compressors import Compressor, EmbeddingTable
from eigenselect.export import OnnxExport
from eigenselect.selector.decision.escaping import on_terminal
from eigenselect.selector.decision.selection import NothingFitsError
from eigenselect.selector.decision.tables import FILE, read_tables_decision
from eigenselect.selector.pool.budget import size
from eigenselect.selector.pool.candidates import expand
from eigenselect.selector.pool.memory import fitting
from eigenselect.selector.progress import progress
from eigenselect.selector.run.job import Assignment, assignment, check_machines, given_table
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.search import candidates
from eigenselect.selector.run.settings import ManySettings, Named, PoolSettings, Settings
from eigenselect.selector.sources import format_of_file, tables_in
from eigenselect.selector.store.output import check_kind, check_room, check_writable, files_of_tables

if TYPE_CHECKING:
    from eigenselect.selector.store.tracker import Tracker

RATES = (32, 24, 16, 12, 10, 8, 6, 5, 4, 3, 2)
"""Rates of float32 at each of which a pool's proposals are fitted, where they are fitted to a budget."""

LAST_RESORT = ("float32", "float16")
"""Of a table that is too small for anything else."""


@dataclass(frozen=True)
class Part:
    """One of the tables.

    Attributes:
        name: of the table.
        folder: of its hand-over, in that of all.
        weight: what its score counts.
        work: its selection; the budget is the most that the others leave it.
    """

    name: str
    folder: str
    weight: float
    work: Assignment

    @property
    def fitting(self) -> list[int]:
        """Bytes of the candidates that are computed, of the fewest first."""
        return sorted(nbytes for _, nbytes in self.work.compressors if nbytes <= self.work.budget)

    @property
    def smallest(self) -> int:
        """Bytes of the smallest candidate."""
        return min(nbytes for _, nbytes in self.work.compressors)


@dataclass(frozen=True, kw_only=True)
class TablesAssignment:
    """A selection for many tables.

    Attributes:
        parts: the tables.
        budget: bytes that all may take.
        left_out: tables of a pattern that are left as they are, each with why.
        settings: what is the same for all.
        export: the target.
        host: an ONNX model that is handed over with the choices in it, or None.
    """

    parts: list[Part]
    budget: int
    left_out: list[str]
    settings: Settings
    export: OnnxExport
    host: Path | None

    @property
    def float32_bytes(self) -> int:
        """Of all tables."""
        return sum(4 * part.work.table.n * part.work.table.d for part in self.parts)

    def check_fitting(self) -> None:
        """Raise a NothingFitsError where the smallest candidates together are over the budget."""
        if (least := sum(part.smallest for part in self.parts)) > self.budget:
            largest = max(self.parts, key=lambda part: part.smallest)
            raise NothingFitsError(
                f"nothing fits the budget of {self.budget:,} bytes: the smallest candidates of the {len(self.parts)} "
                f"tables need {least:,} together, {largest.smallest:,} of them for {largest.name}; raise the budget or "
                "add smaller candidates"
            )


@dataclass(frozen=True, kw_only=True)
class TablesJob(TablesAssignment):
    """A selection for many tables, and where it goes.

    Attributes:
        files: what is written, or was in the place of it.
        tracker: the tracking store.
    """

    files: list[str]
    tracker: Tracker

    @property
    def title(self) -> str:
        """What its run is called: `select 26 tables, 6.5 MB`."""
        return on_terminal(f"select {len(self.parts)} tables, {size(self.budget)}")


@dataclass(frozen=True)
class _Entry:
    name: str
    named: Named
    settings: Settings

    @property
    def folder(self) -> str:
        return re.sub(r"[^\w.-]+", "_", self.name).lstrip(".-") or "table"


def prepare(settings: ManySettings) -> TablesJob:
    """Read and check everything that the settings name, the cheap things first.

    Raises:
        ValueError: any of it cannot be used.
    """
    out, (entries, _) = settings.shared.out, _all_entries(settings)
    files = files_of_tables({*_folders_before(out), *(entry.folder for entry in entries)})
    check_kind(out, many=True)
    check_writable(out, files)
    given = assigned(settings)
    check_room(out, 2 * min(given.budget, sum(part.work.budget for part in given.parts)))
    from eigenselect.selector.store.tracker import connect  # it takes seconds: after whatever else can be refused

    return TablesJob(**vars(given), files=files, tracker=connect(settings.shared.tracking.experiment))


def assigned(settings: ManySettings) -> TablesAssignment:
    """Read and check everything that the settings name but where it goes, which is left alone.

    Raises:
        ValueError: any of it cannot be used.
    """
    check_machines(settings.shared)
    shared, (entries, left_out) = settings.shared, _all_entries(settings)
    export = OnnxExport(**vars(shared.export))
    with progress("reading the tables") as update:
        tables = []
        for done, entry in enumerate(entries):
            update(done, len(entries))
            tables.append(_table(entry, export))
    host = _host([entry.settings for entry in entries], export)
    if host is not None:
        export.check_host(host, *tables)
    parts = [
        Part(entry.name, entry.folder, entry.named.weight, _work(entry, export, table, host is not None))
        for entry, table in zip(entries, tables, strict=True)
    ]
    budget = shared.budget.of_all([(table.n, table.d) for table in tables])
    left = budget - sum(part.smallest for part in parts)
    return TablesAssignment(
        parts=[_limited(part, left + part.smallest) for part in parts],
        budget=budget,
        left_out=left_out,
        settings=shared,
        export=export,
        host=host,
    )


def _all_entries(settings: ManySettings) -> tuple[list[_Entry], list[str]]:
    """The tables, each with a name of its own, and those that are left as they are, each with why."""
    left_out: list[str] = []
    entries = [entry for named, each in settings.entries for entry in _entries(named, each, left_out.append)]
    _check_names(entries)
    return entries, left_out


def _entries(named: Named, settings: Settings, report: Callable[[str], None]) -> list[_Entry]:
    """The tables that an entry stands for: one, or those that fit its pattern, of which some may be reported."""
    table = settings.table
    if table.tensor is None or not re.search(r"[*?[]", table.tensor):
        file = Path(table.path)
        stem = file.stem if not re.search(r"[*?[]", file.name) else file.parent.name  # of the shards of one table
        name = stem if table.tensor is None else table.tensor
        return [_Entry(named.name or name, named, settings)]
    if named.name is not None:
        raise ValueError(f"tables: name = {named.name!r} for all that fit {table.tensor!r}: leave it out")
    found = []
    try:
        shapes = tables_in(table.path, table.tensor, table.format)
    except ValueError as error:
        raise ValueError(f"tables: {error}") from error
    for name, (n, d) in shapes.items():
        if n < d:
            report(f"{name} is left as it is: {n} rows of {d} columns are too few to be compressed")
            continue
        own = dataclasses.replace(settings, table=dataclasses.replace(table, tensor=name))
        found.append(_Entry(name, named, own))
    return found


def _folders_before(out: Path) -> list[str]:
    """Those of the tables of an earlier hand-over, which the new one takes the place of."""
    try:
        found = read_tables_decision(out / FILE)
    except ValueError:
        return []
    return [each.folder for each in found.tables if re.fullmatch(r"\w[\w.-]*", each.folder)]


def _check_names(entries: Sequence[_Entry]) -> None:
    """Raise a ValueError unless there are tables, each with a name and a folder of its own."""
    if not entries:
        raise ValueError("tables: none that fits has as many rows as columns: there is nothing to compress")
    seen: dict[str, _Entry] = {}
    for entry in entries:
        if (other := seen.setdefault(entry.folder, entry)) is not entry:
            raise ValueError(
                f"tables: {entry.name!r} and {other.name!r} would have the same folder {entry.folder}: name each table "
                "once, or give one another name: {path: ..., name: ...}"
            )
        if entry.folder in files_of_tables([]):
            raise ValueError(f"tables: {entry.name!r} has the name of a file of the hand-over: give another name")


def _table(entry: _Entry, export: OnnxExport) -> EmbeddingTable:
    try:
        table = given_table(entry.settings)
        export.check_tokens(table.tokens)
    except ValueError as error:
        raise ValueError(f"tables: {entry.name}: {str(error).removeprefix('table: ')}") from error
    return table


def _host(each: Sequence[Settings], export: OnnxExport) -> Path | None:
    """The model that the payloads are put into: the one that is named, or that all tables were read out of."""
    paths = {settings.table.path for settings in each}
    host = None if export.host is None else Path(export.host)
    if host is None and len(paths) == 1 and (path := Path(*paths)).is_file() and format_of_file(path) == "onnx":
        host = path
    if host is not None and any(settings.table.keep is not None for settings in each):
        raise ValueError("table.keep prunes a host for one table: leave it out, or give the tables without the host")
    if export.remap:
        raise ValueError("export.remap=true maps ids of one pruned table: leave it out")
    return host


def _work(entry: _Entry, export: OnnxExport, table: EmbeddingTable, bound: bool) -> Assignment:
    """The selection of a table with all candidates of its curve, and no budget yet."""
    try:
        found = along(table, entry.settings, host=bound)
    except ValueError as error:
        raise ValueError(f"tables: {entry.name}: {error}") from error
    lookups = None if entry.settings.limits.lookup is None else Lookups(export, table.n, table.d)
    whole = dataclasses.replace(entry.settings, screening=False)  # a curve has the best of every size
    return assignment(whole, export, table, 4 * table.n * table.d, found, lookups=lookups)


def along(table: EmbeddingTable, settings: Settings, *, host: bool) -> tuple[list[tuple[Compressor, int]], list[str]]:
    """The candidates of a table's curve, as `selector.run.search.candidates` gives those of a budget.

    What a pool fits to a budget is fitted at each of `RATES`, and the table itself is there as the last resort.
    """
    pool = dict(settings.candidates.pool)
    known = {each.name for each in expand(pool)}
    if missing := [dtype for dtype in LAST_RESORT if dtype not in known]:
        pool["last_resort"] = {"_target_": "eigenselect.compressors.Identity", "dtype": missing}
    found: dict[str, tuple[Compressor, int]] = {}
    left_out: dict[str, None] = {}
    for rate in RATES:
        sized, reasons = candidates(
            table,
            math.ceil(4 * table.n * table.d / rate),
            PoolSettings(pool, settings.candidates.largest),
            settings.exact_rows,
            host=host,
            use=settings.use,
            criterion=settings.decides,
            strict=False,
        )
        found |= {compressor.name: (compressor, nbytes) for compressor, nbytes in sized}
        left_out |= dict.fromkeys(reasons)
    return [*found.values()], [*left_out]


def _limited(part: Part, budget: int) -> Part:
    """The part with the most bytes that it may take, and without the candidates that memory does not hold."""
    work, table = part.work, part.work.table
    left_out = [*work.left_out]
    compressors = fitting(work.compressors, table.n, table.d, budget, left_out.append)
    limited = dataclasses.replace(work, budget=min(budget, work.budget), compressors=compressors, left_out=left_out)
    return dataclasses.replace(part, work=limited)
