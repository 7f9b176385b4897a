"""The main job: `eigenselect table.path=PATH budget=16MB out=DIR`.

Exit codes, beside those of every command: 3 nothing fits the budget and the limits; 4 more candidates failed than
allowed; 5 the tracking store was lost, and what was measured is kept.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from eigenselect.selector.commands.composed import Composed, in_hand, selections
from eigenselect.selector.commands.jobs import jobs
from eigenselect.selector.commands.launched import Task
from eigenselect.selector.commands.launchers import Launcher
from eigenselect.selector.commands.words import reason, say
from eigenselect.selector.progress import progress
from eigenselect.selector.run.settings import EvidenceSettings, ManySettings, PlanSettings, Settings
from eigenselect.selector.terminal import terminal

MLPROJECT = "--mlproject"
"""First argument of `mlflow run`'s command line: the next word holds all overrides, quoted as one."""


def _run(job: Composed) -> int:
    many = bool(job.config.tables)
    try:
        settings = ManySettings.of(job.config) if many else Settings.of(job.config)
    except ValueError as error:
        say(error)
        return 2
    # Imported here: they take seconds, and `--help` or a mistake in a setting needs none of them.
    from eigenselect.compressors.whole import TakenError
    from eigenselect.export import VerificationError
    from eigenselect.selector.decision.selection import NothingFitsError, NothingMeasuredError
    from eigenselect.selector.run import job as one_job
    from eigenselect.selector.run import pipeline
    from eigenselect.selector.run.sweep import TooManyFailedError
    from eigenselect.selector.run.tables import job as tables_job
    from eigenselect.selector.run.tables import pipeline as tables_pipeline
    from eigenselect.selector.store.lost import StoreLostError

    codes = {
        TakenError: 2,
        StoreLostError: 5,
        NothingFitsError: 3,
        TooManyFailedError: 4,
        NothingMeasuredError: 4,
        VerificationError: 1,
    }
    if many:
        return attempt(job, tables_job.prepare, tables_pipeline.run, settings, codes)
    return attempt(job, one_job.prepare, pipeline.run, settings, codes)


def attempt(
    job: Composed,
    prepare: Callable[[Any], Any],
    run: Callable[..., Any],
    settings: Settings | ManySettings | EvidenceSettings | PlanSettings,
    codes: Mapping[type[Exception], int],
    console: Console | None = None,
) -> int:
    """The exit code of one job, with one line for an error: of `codes` for one of `run`; 2 for what the user gave."""
    console = console or terminal()
    if job.sweep:
        console.rule(f"{job.number}: {job.swept}", align="left", characters="-")
    try:
        prepared = prepare(settings)
    except ValueError as error:
        say(error)
        return 2
    try:
        selections.append((job.swept, run(prepared, console, sweep=job.sweep)))
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


def execute(command: str, run: Callable[[Composed], int], words: Sequence[str]) -> int:
    """The exit code of a command on `words`, its part of the command line: the highest of its jobs."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing several lines and exiting with 1
    selections.clear()
    code = 0
    try:
        composed, launcher = jobs(command, overrides(words))
        for each in _in_turn(run, composed) if launcher is None else _launched(launcher, run, composed):
            code = max(code, each)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        say(reason(error))
        return 2
    return code


def _in_turn(run: Callable[[Composed], int], composed: Sequence[Composed]) -> Iterator[int]:
    for each in composed:
        with in_hand(each) as job:
            yield run(job)


def _launched(launcher: Launcher, run: Callable[[Composed], int], composed: Sequence[Composed]) -> Iterator[int]:
    """The same of jobs in processes of their own, of each of which all that it prints is printed once it is done."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    tasks = [Task(run, job, terminal().width, str(Path.cwd()), variables) for job in composed]
    with closing(launcher(tasks)) as results:
        for number in range(len(tasks)):
            with progress(f"job {number} of {len(tasks)}"):
                done = next(results)
            for stream, text in ((sys.stdout, done.out), (sys.stderr, done.err)):
                stream.write(text)
                stream.flush()
            if done.lost is not None:
                say(f"job {number}: {done.lost}")
            selections.extend(done.found)
            yield done.code


def main(words: Sequence[str]) -> int:
    """The exit code of the main job on `words`."""
    code = execute("config", _run, words)
    if len(selections) > 1:
        from eigenselect.selector.decision.ranking import across
        from eigenselect.selector.decision.selection import Selection

        console = terminal()
        console.rule("all jobs", align="left", characters="-")
        console.print(across([(own, found) for own, found in selections if isinstance(found, Selection)]))
    return code
