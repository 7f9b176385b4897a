"""What a command is asked to do, with everything that its settings name read and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eigenselect.compressors import Compressor, EmbeddingTable
from eigenselect.compressors.data.arrays import is_large
from eigenselect.compressors.device import check_device
from eigenselect.export import OnnxExport
from eigenselect.selector.decision.escaping import on_terminal
from eigenselect.selector.forms import Form, form_of
from eigenselect.selector.pool.budget import size
from eigenselect.selector.progress import progress
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.ray_engine import check_ray
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.settings import Settings
from eigenselect.selector.sources import format_of_file, read_table
from eigenselect.selector.store.output import check_kind, check_room, check_writable

if TYPE_CHECKING:
    from eigenselect.selector.store.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Assignment(Search):
    """A selection to be made, and what its choice is made into.

    Attributes:
        settings: as they were given.
        export: the target.
        host: an ONNX model that is handed over with the chosen payload in it, or None.
        form: the model that the table is of, where it is handed over too.
    """

    settings: Settings
    export: OnnxExport
    host: Path | None
    form: Form | None


@dataclass(frozen=True, kw_only=True)
class Job(Assignment):
    """A selection to be made, and where it goes.

    Attributes:
        out: folder of the hand-over.
        tracker: the tracking store.
    """

    out: Path
    tracker: Tracker

    @property
    def title(self) -> str:
        """What its run is called: `select glove.6B.50d.txt, 6.5 MB`."""
        return on_terminal(f"select {Path(self.settings.table.path).name}, {size(self.budget)}")


def prepare(settings: Settings) -> Job:
    """Read and check everything that the settings name, the cheap things first.

    Raises:
        ValueError: any of it cannot be used.
    """
    check_kind(settings.out, many=False)
    check_writable(settings.out)
    given = assigned(settings)
    largest = max((nbytes for _, nbytes in given.compressors if nbytes <= given.budget), default=0)
    # The payload and the model of it; that of the host comes with its other tensors. What is large lies there while it
    # is made, too: a candidate, the best so far, and the model whose lookups are timed.
    check_room(settings.out, (5 if is_large(largest) else 2) * largest)
    from eigenselect.selector.store.tracker import connect  # it takes seconds: after whatever else can be refused

    tracker = connect(settings.tracking.experiment, settings.tracking.register)
    return Job(**vars(given), out=settings.out, tracker=tracker)


def assigned(settings: Settings) -> Assignment:
    """Read and check everything that the settings name but where it goes, which is left alone.

    Raises:
        ValueError: any of it cannot be used.
    """
    check_machines(settings)
    export = OnnxExport(**vars(settings.export))
    form = form_of(Path(settings.table.path))
    if form is not None:
        file, tensor = form.table
        settings = replace(settings, table=replace(settings.table, path=str(file), tensor=tensor))
    table = given_table(settings)
    export.check_tokens(table.tokens)
    if form is not None:
        form.check(table, export)
    host = _host(settings, export, table)
    budget = settings.budget.nbytes(table.n, table.d)
    bound = host is not None or form is not None  # to the table's own coordinates
    found = candidates(
        *(table, budget, settings.candidates, settings.exact_rows),
        host=bound,
        use=settings.use,
        criterion=settings.decides,
    )
    lookups = Lookups(export, table.n, table.d)
    return assignment(settings, export, table, budget, found, lookups=lookups, host=host, form=form)


def check_machines(settings: Settings) -> None:
    """Raise a ValueError unless what the work is asked of is there."""
    if settings.engine == "ray":
        check_ray()
        if settings.device is not None:
            raise ValueError(f"device = {settings.device!r} is of this machine, not of a cluster: leave out engine=ray")
    check_device(settings.device)


def given_table(settings: Settings) -> EmbeddingTable:
    """The table that the settings name.

    Raises:
        ValueError: it cannot be read.
    """
    with progress("reading the table", counted=False) as update:
        try:
            return read_table(**vars(settings.table), progress=update)
        except ValueError as error:
            raise ValueError(f"table: {error}") from error


def assignment(
    settings: Settings,
    export: OnnxExport,
    table: EmbeddingTable,
    budget: int,
    found: tuple[list[tuple[Compressor, int]], list[str]],
    *,
    lookups: Lookups | None,
    host: Path | None = None,
    form: Form | None = None,
) -> Assignment:
    """The assignment of the settings on a table, with the candidates that were `found` for it and those left out."""
    compressors, left_out = found
    return Assignment(
        table=table,
        budget=budget,
        compressors=compressors,
        left_out=left_out,
        criterion=settings.decides,
        measures=settings.measures,
        seed=settings.seed,
        allowed_failures=settings.allowed_failures,
        lookups=lookups,
        limit=settings.limits.lookup,
        workers=settings.workers,
        engine=settings.engine,
        screening=settings.screening,
        device=settings.device,
        settings=settings,
        export=export,
        host=host,
        form=form,
    )


def _host(settings: Settings, export: OnnxExport, table: EmbeddingTable) -> Path | None:
    """The model that the payload is put into: the one that is named, or that the table was read out of."""
    read_from = Path(settings.table.path)
    if export.host is None and not (read_from.is_file() and format_of_file(read_from, settings.table.format) == "onnx"):
        if export.remap:
            raise ValueError("export.remap=true maps ids of a model, and there is none: add export.host=MODEL.onnx")
        return None
    host = read_from if export.host is None else Path(export.host)
    export.check_host(host, table)
    return host


def profile(job: Assignment) -> dict[str, Any]:
    """What a record says of the table beside its path and digest."""
    table = job.table
    found = {"n": table.n, "d": table.d, "rank": job.rank, "dtype": table.vectors.dtype.name}
    return found if table.source_n is None else {**found, "pruned_from": table.source_n}
