"""Settings of every test."""

from __future__ import annotations

from hypothesis import settings

# No test may depend on how fast this machine is, nor on what an earlier run found.
settings.register_profile("eigenselect", deadline=None, derandomize=True, database=None)
settings.load_profile("eigenselect")
