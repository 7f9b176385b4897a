"""The settings of a command, read from its configuration once: frozen dataclasses of checked values.

The one module that knows the configuration's library, beside the entries of the commands. It imports nothing heavy, so
that a mistake in a setting is answered at once; what a table or a runtime is needed for is checked where these are.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eigenselect.export.choices import OUTPUTS, TARGETS, TIED, Output, Target, Tied
from eigenselect.selector.decision.uses import criterion_of
from eigenselect.selector.pool.build import suggestion
from eigenselect.selector.pool.candidates import expand
from eigenselect.selector.run.rules import (
    FilePath,
    FilePathOrNull,
    Seed,
    Share,
    Switch,
    Text,
    TextOrNull,
    check_names,
    choice,
    read,
)
from eigenselect.selector.run.values import (
    AtLeastOne,
    Count,
    Device,
    Entries,
    LookupLimit,
    Measured,
    Names,
    Opset,
    Providers,
    Rows,
    Seeds,
    Size,
    Token,
    Use,
    Weight,
)


@dataclass(frozen=True)
class TableSettings:
    """The arguments of `selector.sources.read_table`, which says what each means."""

    path: Text
    format: TextOrNull
    tokens: TextOrNull
    tensor: TextOrNull
    dtype: TextOrNull
    dimension: Count
    rows: Count
    padding: Text
    duplicates: Text
    keep: TextOrNull
    counts: TextOrNull
    sha256: TextOrNull


@dataclass(frozen=True)
class PoolSettings:
    """What is tried.

    Attributes:
        pool: entry name -> its `_target_` with arguments; see `selector.pool.candidates.expand`.
        largest: of each entry, how many settings are computed; None is all.
    """

    pool: Entries
    largest: Count = None


@dataclass(frozen=True)
class LimitSettings:
    """What a candidate may be beside its bytes.

    Attributes:
        lookup: how long its lookups may take, or None.
    """

    lookup: LookupLimit


@dataclass(frozen=True)
class ExportSettings:
    """The arguments of `eigenselect.export.OnnxExport`, which says what each means and may be."""

    target: Annotated[Target, choice(TARGETS)]
    output: Annotated[Output, choice(OUTPUTS)]
    opset: Opset
    providers: Providers
    words: Switch
    oov: Token
    host: TextOrNull
    tied: Annotated[Tied, choice(TIED)]
    inputs: TextOrNull
    remap: Switch


@dataclass(frozen=True)
class TrackingSettings:
    """Where runs go.

    Attributes:
        experiment: name of the experiment, unless the environment or an outer run has another.
        resume: whether candidates that were measured by earlier runs are reused.
        register: name of the registered model whose next version the chosen model becomes, or None.
        alias: what then points to that version.
    """

    experiment: Text
    resume: Switch
    register: TextOrNull
    alias: Text

    def __post_init__(self) -> None:
        check_registration(self.register, self.alias)


def check_registration(name: str | None, alias: str) -> None:
    """Refuse a name of a registered model, or an alias, under which the model could not be asked for.

    MLflow itself takes names that no `models:/NAME@ALIAS` reaches, and refuses others only when the work is done.

    Raises:
        ValueError: it is one of those.
    """
    if name is None:
        return
    if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= 256:
        raise ValueError(f"tracking.register = {name!r}: must be a name of 1 to 256 printed characters, or null")
    if name.startswith(".") or re.search("[/:?]", name):
        raise ValueError(f"tracking.register = {name!r}: a name must not start with . and not hold / : ?")
    if not re.fullmatch(r"[\w-]{1,255}", alias):
        raise ValueError(f"tracking.alias = {alias!r}: must be 1 to 255 letters, digits, _ and -")
    if re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise ValueError(f"tracking.alias = {alias!r}: MLflow keeps latest, v1, v2, ... to itself; take another")


@dataclass(frozen=True)
class Settings:
    """What a selection is asked to do.

    Attributes:
        table: the table to compress.
        candidates: what is tried.
        export: the target of the export.
        exact_rows: ids and tokens of the rows that every candidate keeps in float16.
        budget: what a candidate may take.
        limits: what else is asked of it.
        out: folder of the hand-over: everything that the chosen candidate is delivered with.
        criterion: the measure that decides, as it is given; None is that of `use`.
        use: what is done with the rows, where it is known: `trained`, something is trained on top of them; `frozen`,
            they are taken as they are; `retrieval`, they are searched by cosine.
        seed: of everything random.
        allowed_failures: share of the computed candidates that may fail.
        measures: what is measured.
        tracking: where runs go.
        workers: processes that candidates are spread over.
        engine: what these are: `processes` of this machine, or those of a Ray cluster.
        screening: whether candidates of a large table that cannot win are left out by samples of its rows.
        device: what torch calls the device that measures and encodes, or None.
        text: the whole configuration as YAML, as it is logged.
        words: those of the command line, where it comes from one.
    """

    table: TableSettings
    candidates: PoolSettings
    export: ExportSettings
    exact_rows: Rows
    budget: Size
    limits: LimitSettings
    out: FilePath
    criterion: TextOrNull
    use: Use
    seed: Seed
    allowed_failures: Share
    measures: Measured
    tracking: TrackingSettings
    workers: AtLeastOne
    engine: Annotated[Literal["processes", "ray"], choice(("processes", "ray"))]
    screening: Switch
    device: Device
    text: str = ""
    words: tuple[str, ...] = ()

    @property
    def decides(self) -> str:
        """Metric key of the measure that decides.

        Raises:
            ValueError: the criterion is none that there will be.
        """
        return criterion_of(self.measures, self.criterion, self.use, counts=self.table.counts is not None)

    @staticmethod
    def of(config: DictConfig) -> Settings:
        """The settings of a selection.

        Raises:
            ValueError: one that is required is not given, one that is given is not known or cannot be used.
        """
        given, text = _resolved(config)
        return _single(given, text)


@dataclass(frozen=True)
class Named:
    """What an entry of `tables` says beside the settings of a table.

    Attributes:
        name: of the table, that of its folder; None is that of the tensor or file.
        weight: what its score counts beside those of the others.
    """

    name: TextOrNull = None
    weight: Weight = 1


@dataclass(frozen=True)
class ManySettings:
    """What a selection for many tables is asked to do: one of each entry of `tables`, with what else the entry says.

    The selections differ in their tables alone, and their budget is that of all.
    """

    entries: tuple[tuple[Named, Settings], ...]

    @property
    def shared(self) -> Settings:
        """What is the same for all: everything but the table."""
        return self.entries[0][1]

    @staticmethod
    def of(config: DictConfig) -> ManySettings:
        """The settings of a selection for many tables.

        An entry is the settings of a table beside those of `table`, or text: the tensor where `table.path` is given,
        else the file.

        Raises:
            ValueError: as for `Settings.of`.
        """
        apart = OmegaConf.is_missing(config.table, "path")
        if apart:
            config = copy.deepcopy(config)
            config.table.path = None
        given, text = _resolved(config)
        entries, table = given.pop("tables"), given["table"]
        if not isinstance(entries, list):
            raise ValueError(f"tables = {entries!r}: must be a list, [users.npy,items.npy] for example")
        found = []
        for place, entry in enumerate(entries):
            own = {"path" if apart else "tensor": entry} if isinstance(entry, str) else entry
            others = [field.name for field in dataclasses.fields(Named)]
            check_names(f"tables[{place}]", own, [*table, *others])
            named = read(Named, {name: own[name] for name in others if name in own}, f"tables[{place}]")
            whole = table | {name: value for name, value in own.items() if name in table}
            if whole["path"] is None:
                raise ValueError(f"tables[{place}].path: required and not given, and table.path is not either")
            found.append((named, _selection(given | {"table": whole}, text)))
        many = ManySettings(tuple(found))
        if (name := many.shared.tracking.register) is not None:
            raise ValueError(f"tracking.register = {name!r}: it is for one table; leave it out")
        if len(criteria := {settings.decides for _, settings in many.entries}) > 1:
            names = " and ".join(sorted(criteria))
            raise ValueError(f"criterion: {names} would decide, by which tables have counts: name one for all")
        return many


@dataclass(frozen=True)
class ValidateSettings:
    """What is tried with the candidates of a selection.

    Attributes:
        tasks: folder of the tasks' files, or None.
        model: the ONNX transformer of a WordPiece table, or None.
        include: names of tasks, with * for any characters.
        seeds: of compression and training.
        scores: a CSV file with scores of the user's own, or None.
    """

    tasks: FilePathOrNull
    model: FilePathOrNull
    include: Names
    seeds: Seeds
    scores: FilePathOrNull

    def __post_init__(self) -> None:
        if self.tasks is None and self.scores is None:
            raise ValueError("required and not given: validate.tasks=FOLDER or validate.scores=FILE")


@dataclass(frozen=True)
class EvidenceSettings:
    """A selection, what is tried with its candidates, and the whole configuration as YAML."""

    selection: Settings
    validate: ValidateSettings
    text: str

    @staticmethod
    def of(config: DictConfig) -> EvidenceSettings:
        """The settings of `validate`.

        Raises:
            ValueError: as for `Settings.of`.
        """
        given, text = _resolved(config)
        validate = read(ValidateSettings, given.pop("validate", None), "validate")
        selection = _single(given, text)
        if (limit := selection.limits.lookup) is not None:
            raise ValueError(f"limits.lookup = {limit.text!r}: validate tries every candidate; leave it out")
        return EvidenceSettings(selection, validate, text)


@dataclass(frozen=True)
class PlanSettings:
    """A selection that is not made, and the file that says what it would cost: `-` is stdout."""

    selection: Settings | ManySettings
    json: str | None

    @staticmethod
    def of(config: DictConfig) -> PlanSettings:
        """The settings of `plan`.

        Raises:
            ValueError: as for `Settings.of`.
        """
        json = read(_PlanOutput, {"json": config.json}).json
        selection = OmegaConf.masked_copy(config, [str(key) for key in config if key != "json"])
        return PlanSettings(ManySettings.of(selection) if config.tables else Settings.of(selection), json)


@dataclass(frozen=True)
class _PlanOutput:
    json: TextOrNull


def _resolved(config: DictConfig) -> tuple[dict[str, Any], str]:
    """A configuration as plain values, and as YAML."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise ValueError(f"required and not given: {', '.join(f'{key}=...' for key in missing)}")
    try:
        given: Any = OmegaConf.to_container(config, resolve=True)
        text = OmegaConf.to_yaml(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(str(error)) from error
    if isinstance(given["candidates"], dict):  # its other names are those that the entries take their values from
        given["candidates"] = {
            name: value for name, value in given["candidates"].items() if name in ("pool", "largest")
        }
    return given, text


def _single(given: dict[str, Any], text: str) -> Settings:
    """The settings of a selection for one table."""
    if tables := given.pop("tables"):
        raise ValueError(f"tables = {tables!r}: this is for one table: give table.path")
    return _selection(given, text)


def _selection(given: dict[str, Any], text: str) -> Settings:
    settings = read(Settings, given)
    expand(settings.candidates.pool)  # only to be refused at once: what it is fitted to is not known yet
    _ = settings.decides  # only to be refused at once
    words = tuple(HydraConfig.get().overrides.task) if HydraConfig.initialized() else ()
    return dataclasses.replace(settings, text=text, words=words)


def named_pool(name: str) -> PoolSettings:
    """The pool of candidates that comes with the program under `name`: `quick`, `auto` and others.

    Raises:
        ValueError: there is none of that name.
    """
    known = [path.name.removesuffix(".yaml") for path in (files("eigenselect.conf") / "candidates").iterdir()]
    if name not in known:
        raise ValueError(f"candidates = {name!r} is not a pool: {suggestion(name, known)}")
    outer = GlobalHydra.instance().hydra  # of a program that calls this from within its own
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("eigenselect.conf", version_base="1.3"):
            config = compose("config", [f"candidates={name}"])
    finally:
        GlobalHydra.instance().hydra = outer
    given, _ = _resolved(OmegaConf.masked_copy(config, ["candidates"]))
    return read(PoolSettings, given["candidates"], "candidates")
