"""Is a hand-over what it was, and what does it cost to stay with it when there is a newer table?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eigenselect.compressors import EmbeddingTable
from eigenselect.selector.checking import checks
from eigenselect.selector.checking.checks import Check
from eigenselect.selector.checking.drift import TOLERANCE, Drift, drift, pair
from eigenselect.selector.checking.hand_over import TOKENS, WORDS, HandOver, NotTaken, read, taken
from eigenselect.selector.forms import FORMS
from eigenselect.selector.pool.digest import table_digest


@dataclass(frozen=True)
class Examination:
    """What was found of a hand-over.

    Attributes:
        checks: in order.
        drift: the verdict on a newer table, where there is one and no check failed.
    """

    checks: list[Check]
    drift: Drift | None

    @property
    def exit_code(self) -> int:
        """0 where each check passed or was skipped, 1 where one failed, 3 where a newer table asks to select again."""
        if any(check.status == "failed" for check in self.checks):
            return 1
        return 3 if self.drift is not None and self.drift.verdict == "re-select" else 0


def examine(folder: Path, newer: EmbeddingTable | None = None, tolerance: float = TOLERANCE) -> Examination:
    """Make every check of the hand-over in `folder`.

    Args:
        folder: the hand-over.
        newer: a table to compare it with, its own or a newer one.
        tolerance: the EOS that staying may cost, see `selector.checking.drift`.

    Raises:
        ValueError: the folder has no manifest that can be read, or the newer table cannot be compared.
    """
    given = read(folder)
    own = newer if newer is not None and _compressed(given, newer) else None
    listed = given.manifest["files"]
    of_forms = {file for form in FORMS.values() for file in form.files}
    found = [
        checks.check_manifest(given),
        checks.check_files(given),
        checks.check_record(given),
        checks.check_payload(given),
        *([checks.check_tokens(given)] if TOKENS in listed else []),
        checks.check_providers(given),
        checks.check_model(given),
        *([checks.check_words(given)] if WORDS in listed else []),
        *([checks.check_form(given)] if of_forms & {*listed} else []),
        checks.check_eos(given, own),
    ]
    if newer is None or newer is own or any(check.status == "failed" for check in found):
        return Examination(found, None)  # nothing to compare, or nothing worth keeping
    decision, payload = taken(given.decision), taken(given.payload)
    verdict = drift(
        newer,
        pair(payload.n, taken(given.tokens), newer),
        checks.decoder(given).decode,
        decision.chosen,
        aligned=payload.aligned,
        seed=decision.seed,
        tolerance=tolerance,
    )
    return Examination(found, verdict)


def _compressed(given: HandOver, table: EmbeddingTable) -> bool:
    """Whether it is the table that was compressed."""
    return not isinstance(given.decision, NotTaken) and table_digest(table) == given.decision.table.digest
