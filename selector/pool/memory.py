"""Memory that a candidate needs at least, and what there is: one that cannot fit is left out before it is begun."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from eigenselect.compressors import Compressor
from eigenselect.compressors.data.arrays import is_large

BLOCK_ROWS = 65_536

BLOCKS = 4
"""Blocks of float64 that compression and scoring hold beside the payload, at least."""

GROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may take."""


def fitting(
    sized: Sequence[tuple[Compressor, int]], n: int, d: int, budget: int, report: Callable[[str], None]
) -> list[tuple[Compressor, int]]:
    """The candidates that can be held in memory, or are over the budget and never are; the others are reported.

    Of large payloads the arrays are files.

    Args:
        sized: compressors with the bytes of their payloads.
        n: rows of the table.
        d: its columns.
        budget: bytes that a candidate may take.
        report: gets a sentence for each that is left out.

    Raises:
        ValueError: none is left.
    """
    there, kept = available(), []
    for compressor, nbytes in sized:
        if nbytes <= budget and (need := needed(nbytes, n, d)) > there:
            report(f"{compressor.name}: it takes {need / 1e6:,.0f} MB of memory, {there / 1e6:,.0f} MB are free")
        else:
            kept.append((compressor, nbytes))
    if not kept:
        raise ValueError(
            f"{there / 1e6:,.0f} MB of memory are free, and every candidate takes more: free some, or lower the budget"
        )
    return kept


def needed(nbytes: int, n: int, d: int) -> int:
    """Bytes that a candidate of `nbytes` takes at least, above the (n, d) table that it is made of."""
    return (0 if is_large(nbytes) else nbytes) + BLOCKS * 8 * d * min(n, BLOCK_ROWS)


def available() -> int:
    """Bytes of memory that this process may still take, as far as the system says."""
    return min(_limits(), default=sys.maxsize)


def _limits() -> Iterator[int]:
    fields = dict(line.split(":") for line in _text(Path("/proc/meminfo")).splitlines())
    if "MemAvailable" in fields:
        yield 1024 * sum(int(fields.get(name, "0").split()[0]) for name in ("MemAvailable", "SwapFree"))
    most, used = (_text(GROUP / f"memory.{name}").strip() for name in ("max", "current"))
    if most.isdigit() and used.isdigit():
        yield int(most) - int(used)
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, pages = resource.getrlimit(resource.RLIMIT_AS)[0], _text(Path("/proc/self/statm")).split()
    if limit != resource.RLIM_INFINITY and pages:
        yield limit - int(pages[0]) * resource.getpagesize()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
