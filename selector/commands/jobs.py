"""The jobs of a command line: one, or with `-m` one for each combination of the values that settings have.

Hydra composes their settings and runs nothing: none of its launchers, sweepers, callbacks and logging is made, whatever
a file of settings says of them (docs/security.md). A launcher that the command line names is one of ours
(`launchers.py`).
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from eigenselect.compressors.words import brief
from eigenselect.selector.commands.composed import Composed
from eigenselect.selector.commands.launchers import Launcher, launcher_of
from eigenselect.selector.commands.words import Flags, as_changes, flags, hydra_flags

CONF = "eigenselect.conf"


def jobs(command: str, words: Sequence[str]) -> tuple[list[Composed], Launcher | None]:
    """The jobs of `words` of a command, and what spreads them, if it is named; none with flags that only print.

    Raises:
        ValueError, HydraException, OmegaConfBaseException: words that cannot be used.
    """
    given, rest = flags(words)
    parsed = OverridesParser.create().parse_overrides([*rest])
    launcher, others = launcher_of(parsed, sweeps=given.multirun)
    rest = [str(override.input_line) for override in others]
    if given.cfg or given.shell_completion:
        _show(command, [*hydra_flags(given), *rest])
        return [], launcher
    try:
        return _composed(command, given, rest), launcher
    except ConfigCompositionException as error:
        if "Could not delete" not in str(error):
            raise
        return _composed(command, given, as_changes(rest)), launcher


def _composed(command: str, given: Flags, words: Sequence[str]) -> list[Composed]:
    outer = GlobalHydra.instance().hydra  # of a program that calls this from within its own
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONF, version_base="1.3"):
            return list(_each(command, given, words))
    except (HydraException, OmegaConfBaseException, ValueError):
        raise
    except Exception as error:  # of YAML, and of what Hydra expects of a file
        raise ValueError(
            f"a file of {given.config_dir or CONF} is not one of settings ({type(error).__name__}: {brief(error)})"
        ) from error
    finally:
        GlobalHydra.instance().hydra = outer


def _each(command: str, given: Flags, words: Sequence[str]) -> Iterator[Composed]:
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*words])
    for override in overrides:
        _check_own(override)
    own = [] if given.config_dir is None else [_searched(Path(given.config_dir))]
    values = [_values(override) if given.multirun else [str(override.input_line)] for override in overrides]
    for number, combination in enumerate(itertools.product(*values)):
        config = compose(command, [*own, *combination], return_hydra_config=True)
        with open_dict(config.hydra.job):
            config.hydra.job.num = number
        swept = " ".join(word for word, all_of in zip(combination, values, strict=True) if len(all_of) > 1)
        yield Composed(config, number, swept, given.multirun)


def _values(override: Override) -> list[str]:
    """The words that a word stands for with `-m`."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise ValueError(f"{override.input_line} has no end of values: name them, {override.get_key_element()}=a,b")
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _check_own(override: Override) -> None:
    """Raise a ValueError for a setting of Hydra itself."""
    for key in (override.key_or_group, override.package or ""):
        if key.replace("/", ".").partition(".")[0] == "hydra":
            raise ValueError(
                f"{key} is a setting of Hydra, which composes the settings here and runs nothing: leave it out"
            )


def _searched(folder: Path) -> str:
    """The word that adds a folder to those that settings are looked for in."""
    if not folder.is_dir():
        raise ValueError(f"--config-dir {folder} is not a folder: correct the path")
    place = json.dumps(f"file://{folder.absolute()}", ensure_ascii=False)
    return f"hydra.searchpath=[{place}]"


def _show(command: str, words: Sequence[str]) -> None:
    """What `--cfg` and a shell's completion ask Hydra's own command line for."""

    def nothing(config: DictConfig) -> None:
        """It runs nothing with these flags."""

    sys.argv[1:] = words
    hydra.main(version_base="1.3", config_path=f"pkg://{CONF}", config_name=command)(nothing)()
