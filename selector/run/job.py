"""What a selection is asked to do, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from eigenselect.compressors import Compressor, EmbeddingTable, ExactRows
from eigenselect.compressors.methods.exact_rows import exact_nbytes
from eigenselect.compressors.training import progress
from eigenselect.export import OnnxExport
from eigenselect.selector.measures import Measures
from eigenselect.selector.measures.moments import table_rank
from eigenselect.selector.pool.budget import Budget
from eigenselect.selector.pool.candidates import Room, exact_rows, expand
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.pool.zero_rows import MOST, with_zero_rows, zero_rows
from eigenselect.selector.sources import format_of_file
from eigenselect.selector.store.output import check_writable
from eigenselect.selector.store.tracking import Tracker, check_registration, connect

SETTINGS = {
    "table",
    "candidates",
    "export",
    "exact_rows",
    "budget",
    "out",
    "criterion",
    "seed",
    "allowed_failures",
    "measures",
    "tracking",
}
"""Every setting. What Hydra lets a user add with a + beside them would be ignored, so it is refused."""

TRACKING = {"experiment", "resume", "register", "alias"}


@dataclass(frozen=True)
class Job:
    """Everything that a run rests on, read and checked.

    Attributes:
        settings: the resolved configuration.
        table: the table.
        digest: of the table.
        rank: numerical rank of the table.
        zeros: ids of the table's rows of zeros, (m,) int64.
        budget: bytes.
        compressors: the candidates' methods with the exact bytes of each.
        left_out: settings that cannot be used on the table, or cannot do what the host or `exact_rows` ask for, each
            with why.
        measures: what is measured.
        export: the target.
        host: an ONNX model that is handed over with the chosen payload in it, or None.
        out: folder of the hand-over.
        tracker: the tracking store.
    """

    settings: DictConfig
    table: EmbeddingTable
    digest: str
    rank: int
    zeros: npt.NDArray[np.int64]
    budget: int
    compressors: list[tuple[Compressor, int]]
    left_out: list[str]
    measures: Measures
    export: OnnxExport
    host: Path | None
    out: Path
    tracker: Tracker


def prepare(settings: DictConfig) -> Job:
    """Read and check everything that comes from the user, the cheap things first.

    Raises:
        ValueError: any of it cannot be used.
    """
    OmegaConf.resolve(settings)
    if missing := sorted(OmegaConf.missing_keys(settings)):
        raise ValueError(f"required and not given: {', '.join(f'{key}=...' for key in missing)}")
    for unknown in sorted({*settings} - SETTINGS) + [f"tracking.{key}" for key in {*settings.tracking} - TRACKING]:
        raise ValueError(f"there is no setting {unknown}; there are {', '.join(sorted(SETTINGS))}")
    budget = Budget.parse(settings.budget)
    expand(plain(settings.candidates.pool))  # only to be refused early
    largest = settings.candidates.get("largest")
    if largest is not None and (not isinstance(largest, int) or largest < 1):
        raise ValueError(f"candidates.largest = {largest!r}: must be an integer of at least 1, or null for all")
    measures: Measures = _instantiate("measures", settings.measures)
    export: OnnxExport = _instantiate("export", settings.export)
    settings.criterion = measures.criterion(settings.criterion)
    if not isinstance(settings.seed, int) or settings.seed < 0:
        raise ValueError(f"seed = {settings.seed!r}: must be an integer of at least 0")
    if not 0 <= settings.allowed_failures <= 1:
        raise ValueError(f"allowed_failures = {settings.allowed_failures}: must be a share from 0 to 1")
    out = Path(str(settings.out))
    check_writable(out)
    check_registration(settings.tracking.register, settings.tracking.alias)
    with progress("reading the table", counted=False) as update:
        table = _instantiate("table", settings.table, progress=update)
    export.check_tokens(table.tokens)
    host = _host(settings, export, table)
    rows = exact_rows(plain(settings.exact_rows), table)
    allowed = budget.nbytes(table.n, table.d)
    zeros = zero_rows(table)
    apart = len({*zeros.tolist()} - {*rows}) if len(zeros) <= MOST else 0
    room = Room(table.n, table.d, allowed - exact_nbytes(len(rows), table.d), apart)
    left_out: list[str] = []
    pool = expand(plain(settings.candidates.pool), room, largest, left_out.append)
    if rows:
        pool = _in_own_dimension(pool, "exact_rows", "in which no row can be exact", left_out.append)
        pool = [ExactRows(rows, compressor) for compressor in pool]
    pool = with_zero_rows(pool, zeros)
    if host is not None:
        pool = _in_own_dimension(pool, "the host", "which the host does not expect", left_out.append)
    sized = [(compressor, compressor.nbytes(table.n, table.d)) for compressor in pool]
    return Job(
        settings=settings,
        table=table,
        digest=table_digest(table),
        rank=table_rank(table),
        zeros=zeros,
        budget=allowed,
        compressors=sized,
        left_out=left_out,
        measures=measures,
        export=export,
        host=host,
        out=out,
        tracker=connect(settings.tracking.experiment, settings.tracking.register),
    )


def _host(settings: DictConfig, export: OnnxExport, table: EmbeddingTable) -> Path | None:
    """The model that the payload is put into: the one that is named, or that the table was read out of."""
    read_from = Path(str(settings.table.path))
    if export.host is None and format_of_file(read_from, settings.table.format) != "onnx":
        return None
    host = read_from if export.host is None else Path(export.host)
    if table.source_n is not None:
        raise ValueError(
            f"table.keep leaves {table.n} of {table.source_n} rows, and the model {host} asks for all of them: drop "
            "table.keep, or write the table out with numpy.save and give the .npy file, without export.host"
        )
    export.check_host(host, table)
    return host


def _in_own_dimension(pool: list[Compressor], asker: str, why: str, tell: Callable[[str], None]) -> list[Compressor]:
    """The candidates of the table's own dimension, which `asker` needs; `why` the others are left out is told."""
    kept: list[Compressor] = []
    for compressor in pool:
        if compressor.keeps_dimension:
            kept.append(compressor)
        else:
            tell(f"{compressor.name}: it decodes to coordinates of its own, {why}")
    if not kept:
        raise ValueError(
            f"{asker} needs candidates of the table's own dimension, and the pool has none: "
            "give PCA keep_dimension=true, or add other methods"
        )
    return kept


def profile(job: Job) -> dict[str, Any]:
    """What a record says of the table beside its path and digest."""
    table = job.table
    found = {"n": table.n, "d": table.d, "rank": job.rank, "dtype": table.vectors.dtype.name}
    return found if table.source_n is None else {**found, "pruned_from": table.source_n}


def plain(settings: Any) -> Any:
    """Lists and dictionaries in the place of configuration."""
    return OmegaConf.to_container(settings, resolve=True) if OmegaConf.is_config(settings) else settings


def _instantiate(name: str, settings: DictConfig, **given: Any) -> Any:
    """Build a configured object; an error says which."""
    try:
        return instantiate(settings, _convert_="all", **given)
    except InstantiationException as error:
        raise ValueError(f"{name}: {error.__cause__ or error}") from error
