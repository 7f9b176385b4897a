"""Hydra's launchers: what spreads the jobs of a sweep, by the names and settings that they have in Hydra.

Hydra's own plugins are not used: they compose each job again and run what its configuration says of callbacks, logging
and environment, which a file may say. The libraries that they call are called here. A launcher is one of `LAUNCHERS`,
is named on the command line, and only waits for processes (`launched.perform`), each of which has one job.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import OmegaConf

from eigenselect.compressors.data import table as tables
from eigenselect.compressors.words import brief
from eigenselect.selector.commands.launched import Done, Task, perform
from eigenselect.selector.pool.build import suggestion
from eigenselect.selector.run.rules import Text, TextOrNull, is_integer, is_list_of_text, read, rule
from eigenselect.selector.run.values import AtLeastOne, Count

GROUP, PREFIX = "hydra/launcher", "hydra.launcher"

PATIENCE = 10
"""Seconds that jobs which are stopped are waited for."""

AtOnce = Annotated[int, rule("an integer other than 0", lambda value: is_integer(value) and value != 0)]
Commands = Annotated[list[str] | None, rule("a list of commands, or null", lambda v: v is None or is_list_of_text(v))]
Keywords = Annotated[
    dict[str, Any] | None, rule("names with values, or null", lambda value: value is None or isinstance(value, dict))
]


class Launcher(ABC):
    """One of the launchers with its settings.

    Attributes:
        package: that it needs, which is also the name of the extra of this distribution that brings it.
    """

    package: ClassVar[str]

    @abstractmethod
    def __call__(self, tasks: Sequence[Task]) -> Generator[Done]:
        """What becomes of each task, in their order; none of them runs any more when the iterator is closed.

        Raises:
            ValueError: the library cannot use the settings.
        """


@dataclass(frozen=True)
class Joblib(Launcher):
    """Some at a time on this machine, by joblib, whose threads wait for the processes.

    Attributes:
        n_jobs: how many; -1 is as many as there are processors, which are divided among them.
    """

    package = "joblib"

    n_jobs: AtOnce = -1

    def __call__(self, tasks: Sequence[Task]) -> Generator[Done]:  # noqa: D102
        from joblib import Parallel, delayed, effective_n_jobs

        stop, waiting = threading.Event(), set[threading.Thread]()

        def performed(task: Task) -> Done:
            waiting.add(threading.current_thread())
            return perform(task, stop)

        parallel = Parallel(self.n_jobs, backend="threading", return_as="generator", batch_size=1)
        share = max(1, tables.WORKERS // min(effective_n_jobs(self.n_jobs), len(tasks)))
        try:
            yield from parallel(delayed(performed)(replace(task, threads=share)) for task in tasks)
        finally:
            stop.set()
            for thread in waiting:
                thread.join()


@dataclass(frozen=True)
class RayKeywords:
    """What two functions of Ray are called with beside what is set here.

    Attributes:
        init: `ray.init`: `address` of a cluster; else one is started on this machine, and stopped in the end.
        remote: `ray.remote`: `num_cpus` of a job and so on.
    """

    init: Keywords = None
    remote: Keywords = None


@dataclass(frozen=True)
class Ray(Launcher):
    """As many at a time as a Ray cluster has room for, one processor each unless `ray.remote` says otherwise."""

    package = "ray"

    ray: RayKeywords = RayKeywords()

    def __call__(self, tasks: Sequence[Task]) -> Generator[Done]:  # noqa: D102
        import ray

        mine = not ray.is_initialized()
        asked: list[Any] = []
        try:
            try:
                if mine:
                    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
                    ray.init(**quiet | (self.ray.init or {}))
                work = ray.remote(**{"num_cpus": 1, "max_retries": 0} | (self.ray.remote or {}))(perform)
                asked += [work.remote(task) for task in tasks]
            except (TypeError, ValueError, ConnectionError, RuntimeError) as error:
                raise ValueError(f"{PREFIX}.ray: Ray cannot use this: {brief(error)}") from error
            for each in asked:
                try:
                    yield ray.get(each)
                except ray.exceptions.RayError as error:
                    yield Done(1, lost=brief(error))
        finally:
            for each in asked:
                ray.cancel(each)  # an interrupt in `perform`, which waits for its process
            if asked:
                ray.wait(asked, num_returns=len(asked), timeout=PATIENCE)
            if mine:
                ray.shutdown()


@dataclass(frozen=True)
class SubmititLocal(Launcher):
    """All at once as processes of this machine, by submitit: to try what Slurm is given.

    Attributes:
        submitit_folder: where submitit writes its files; `%j` stands for the id of a job.
        timeout_min: minutes that a job may take.
        cpus_per_task: of each job.
        gpus_per_node: of each job.
        mem_gb: of each job.
        name: of the jobs.
    """

    package, cluster = "submitit", "local"

    submitit_folder: Text = ".submitit/%j"
    timeout_min: AtLeastOne = 60
    cpus_per_task: Count = None
    gpus_per_node: Count = None
    mem_gb: Count = None
    name: Text = "eigenselect"

    def __call__(self, tasks: Sequence[Task]) -> Generator[Done]:  # noqa: D102
        import submitit

        os.environ["PYTHONSAFEPATH"] = "1"  # its processes look for no module in the working folder
        common = {each.name for each in fields(SubmititLocal)}
        given = {name if name in common else f"{self.cluster}_{name}": value for name, value in vars(self).items()}
        folder = given.pop("submitit_folder")
        try:
            executor = submitit.AutoExecutor(folder, cluster=self.cluster)
            executor.update_parameters(**{name: value for name, value in given.items() if value is not None})
            jobs = executor.map_array(perform, tasks)
        except Exception as error:  # of Slurm's own commands, and of a library whose checks are assertions
            raise ValueError(f"{PREFIX}: submitit cannot use this: {brief(error)}") from error
        try:
            for job in jobs:
                try:
                    yield job.result()
                except Exception as error:  # of a job that was killed, or that took too long
                    yield Done(1, lost=brief(error))
        finally:
            for job in jobs:
                if not job.done():
                    job.cancel()


@dataclass(frozen=True)
class SubmititSlurm(SubmititLocal):
    """Jobs of a Slurm cluster, by submitit. What is not explained here is `sbatch`'s option of that name.

    Attributes:
        array_parallelism: how many run at a time.
        setup: commands that run before each job.
        additional_parameters: other options of `sbatch`.
    """

    cluster = "slurm"

    partition: TextOrNull = None
    qos: TextOrNull = None
    comment: TextOrNull = None
    constraint: TextOrNull = None
    exclude: TextOrNull = None
    gres: TextOrNull = None
    cpus_per_gpu: Count = None
    gpus_per_task: Count = None
    mem_per_gpu: TextOrNull = None
    mem_per_cpu: TextOrNull = None
    account: TextOrNull = None
    array_parallelism: Count = None
    setup: Commands = None
    additional_parameters: Keywords = None


LAUNCHERS: dict[str, type[Launcher]] = {
    "joblib": Joblib,
    "ray": Ray,
    "submitit_local": SubmititLocal,
    "submitit_slurm": SubmititSlurm,
}
"""Every launcher that there is, by Hydra's name."""


def launcher_of(overrides: Sequence[Override], *, sweeps: bool) -> tuple[Launcher | None, list[Override]]:
    """The launcher that words of a command line name, if any, and the other words.

    Args:
        overrides: the words.
        sweeps: whether the command has `-m`.

    Raises:
        ValueError: it is none of `LAUNCHERS`, its settings cannot be used, or its package is not installed.
    """
    names, values, rest = [], OmegaConf.create(), []
    for override in overrides:
        key = override.key_or_group
        plain = override.type is OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
        if key == GROUP and plain:
            names.append(override.value())
        elif key.startswith(f"{PREFIX}.") and plain:
            OmegaConf.update(values, key.removeprefix(f"{PREFIX}."), override.value())
        else:
            rest.append(override)
    settings: Any = OmegaConf.to_container(values)
    if not names:
        if settings:
            raise ValueError(f"{PREFIX}.{next(iter(settings))} is a setting of a launcher: name it, {GROUP}=joblib")
        return None, rest
    name = str(names[-1])
    if name not in LAUNCHERS:
        raise ValueError(f"{GROUP} = {name!r} is not a launcher: {suggestion(name, LAUNCHERS)}")
    if not sweeps:
        raise ValueError(f"{GROUP} = {name!r} spreads the runs of -m, which is not given: add it, or leave this out")
    kind = LAUNCHERS[name]
    launcher = read(kind, settings, PREFIX)
    if find_spec(kind.package) is None:
        raise ValueError(f"{GROUP} = {name!r}: not installed: pip install 'eigenselect[{kind.package}]'")
    return launcher, rest
