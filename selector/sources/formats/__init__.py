"""The readers, each a file of this folder with its `FORMAT`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from eigenselect.selector.sources.format import Format

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (import_module(f"{__name__}.{module.name}").FORMAT for module in iter_modules(__path__))
}
"""Every format by its name."""
