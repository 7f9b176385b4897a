"""The main job: `eigenselect table.path=PATH budget=16MB out=DIR`.

Exit codes, beside those of every command: 3 nothing fits the budget and the limits; 4 more candidates failed than
allowed; 5 the tracking store was lost, and what was measured is kept.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from eigenselect.selector.commands.words import as_changes, hydra_words, reason, say
from eigenselect.selector.run.settings import EvidenceSettings, PlanSettings, Settings
from eigenselect.selector.terminal import terminal

MLPROJECT = "--mlproject"
"""First argument of `mlflow run`'s command line: the next word holds all overrides, quoted as one."""

exit_codes: list[int] = [0]
"""Of the jobs of this command so far."""

selections: list[tuple[str, Any]] = []
"""Of the jobs of this command so far that ended well: the settings of its own, and what it returned."""


@hydra.main(version_base="1.3", config_path="pkg://eigenselect.conf", config_name="config")
def job(settings: DictConfig) -> None:
    """One selection; what went wrong is reported here and remembered, so that the other jobs of a sweep go on."""
    exit_codes.append(_run(settings))


def _run(config: DictConfig) -> int:
    try:
        settings = Settings.of(config)
    except ValueError as error:
        say(error)
        return 2
    # Imported here: they take seconds, and `--help` or a mistake in a setting needs none of them.
    from eigenselect.compressors.whole import TakenError
    from eigenselect.export import VerificationError
    from eigenselect.selector.decision.selection import NothingFitsError, NothingMeasuredError
    from eigenselect.selector.run.job import prepare
    from eigenselect.selector.run.pipeline import run
    from eigenselect.selector.run.sweep import TooManyFailedError
    from eigenselect.selector.store.lost import StoreLostError

    codes = {
        TakenError: 2,
        StoreLostError: 5,
        NothingFitsError: 3,
        TooManyFailedError: 4,
        NothingMeasuredError: 4,
        VerificationError: 1,
    }
    return attempt(prepare, run, settings, codes)


def attempt(
    prepare: Callable[[Any], Any],
    run: Callable[..., Any],
    settings: Settings | EvidenceSettings | PlanSettings,
    codes: Mapping[type[Exception], int],
    console: Console | None = None,
) -> int:
    """The exit code of one job, with one line for an error: of `codes` for one of `run`; 2 for what the user gave."""
    sweep, console = HydraConfig.get().mode == RunMode.MULTIRUN, console or terminal()
    if sweep:
        console.rule(f"{HydraConfig.get().job.num}: {_overrides()}", align="left", characters="-")
    try:
        prepared = prepare(settings)
    except ValueError as error:
        say(error)
        return 2
    try:
        selections.append((_overrides(), run(prepared, console, sweep=sweep)))
    except tuple(codes) as error:
        say(error)
        return next(code for kind, code in codes.items() if isinstance(error, kind))
    except OSError as error:
        if error.errno is None:
            raise
        say(
            f"{error.strerror}: {error.filename or 'a file'}; what was handed over before is as it was: make room or "
            "name another out, and the same command goes on from here"
        )
        return 2
    return 0


def _overrides() -> str:
    """The settings that this job of a sweep has of its own."""
    words = OverridesParser.create().parse_overrides([word for word in sys.argv[1:] if not word.startswith("-")])
    swept = {each.get_key_element() for each in words if each.is_sweep_override()}
    return " ".join(word for word in HydraConfig.get().overrides.task if word.partition("=")[0] in swept)


def overrides(arguments: Sequence[str]) -> list[str]:
    """The command line, with what `mlflow run` hands over as one word split into overrides.

    Raises:
        ValueError: `mlflow run` was given a parameter that is not `overrides`, or words with an open quote.
    """
    if [*arguments[:1]] != [MLPROJECT]:
        return [*arguments]
    words, extra = arguments[1:2], arguments[2:]
    if extra:
        raise ValueError(f'mlflow run was given {" ".join(extra)}: put settings into -P overrides="key=value ..."')
    try:
        return [override for word in words for override in shlex.split(word)]
    except ValueError as error:
        raise ValueError(f"overrides = {words[0]}: {error}; quote a value on both sides") from error


def execute(job: Callable[[], None], words: Sequence[str]) -> int:
    """The exit code of a command's `job` on `words`, its part of the command line."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing several lines and exiting with 1
    exit_codes[:], selections[:] = [0], []
    try:
        sys.argv[1:] = hydra_words(overrides(words))
        try:
            job()
        except ConfigCompositionException as error:
            if "Could not delete" not in str(error):
                raise
            sys.argv[1:] = as_changes(sys.argv[1:])
            job()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        say(reason(error))
        return 2
    return max(exit_codes)


def main(words: Sequence[str]) -> int:
    """The exit code of the main job on `words`."""
    code = execute(job, words)
    if len(selections) > 1:
        from eigenselect.selector.decision.ranking import across

        console = terminal()
        console.rule("all jobs", align="left", characters="-")
        console.print(across(selections))
    return code
