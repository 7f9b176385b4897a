"""The command: `eigenselect validate table.path=PATH budget=16MB out=DIR validate.tasks=FOLDER`.

Exit codes, beside those of every command: 4 more candidates failed than allowed; 5 the tracking store was
lost, and what was measured is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from eigenselect.selector.commands.composed import Composed
from eigenselect.selector.commands.select import attempt, execute
from eigenselect.selector.commands.words import say
from eigenselect.selector.run.settings import EvidenceSettings


def _run(job: Composed) -> int:
    try:
        settings = EvidenceSettings.of(job.config)
    except ValueError as error:
        say(error)
        return 2
    # Imported here: they take seconds, and `--help` or a mistake in a setting needs none of them.
    from eigenselect.compressors.whole import TakenError
    from eigenselect.selector.evidence.plan import prepare
    from eigenselect.selector.evidence.run import run
    from eigenselect.selector.run.sweep import TooManyFailedError
    from eigenselect.selector.store.lost import StoreLostError

    return attempt(job, prepare, run, settings, {TakenError: 2, StoreLostError: 5, TooManyFailedError: 4})


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect validate words`."""
    return execute("validate", _run, words)
