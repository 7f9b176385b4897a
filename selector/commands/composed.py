"""A job whose settings are composed, while it is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf

selections: list[tuple[str, Any]] = []
"""Of the jobs of this command so far that ended well: the settings of its own, and what it returned."""


@dataclass(frozen=True)
class Composed:
    """A job.

    Attributes:
        config: its settings.
        number: of the job among those of the command.
        swept: what it alone has of the settings that have several values, `budget=8MB`.
        sweep: whether it is one of several, or may be.
    """

    config: DictConfig
    number: int
    swept: str
    sweep: bool


@contextmanager
def in_hand(job: Composed) -> Iterator[Composed]:
    """The job without the settings of Hydra, which its references (`${hydra:job.num}`) are to meanwhile."""
    setup_globals()
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(job.config)
    settings = [str(key) for key in job.config if key != "hydra"]
    try:
        yield replace(job, config=OmegaConf.masked_copy(job.config, settings))
    finally:
        HydraConfig.instance().cfg = before
