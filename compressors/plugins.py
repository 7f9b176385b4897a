"""Packages from outside that declare methods and payload kinds of their own.

A package does so by an entry point of the group `eigenselect` that names the module to import. Records and payload
files never name what is imported: anyone may have changed them, and what is installed was chosen by the user.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

GROUP = "eigenselect"


@cache
def load_plugins() -> None:
    """Import the modules of every installed package that declares some, once.

    Raises:
        ValueError: one of them cannot be imported.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # whatever the code of others does
            package = point.dist.name if point.dist else point.name
            raise ValueError(
                f"{point.value}, which the installed package {package} declares for {GROUP}, cannot be imported: "
                f"{type(error).__name__}: {error}; correct the package, or uninstall it"
            ) from error
