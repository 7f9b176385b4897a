"""The command: `eigenselect export host=MODEL.onnx payload=DIR out=NEW.onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eigenselect.selector.commands.configuration import settings_of
from eigenselect.selector.commands.words import say, settings


def main(words: Sequence[str]) -> int:
    """The exit code of `eigenselect export words`."""
    try:
        given = settings(words, settings_of("export"))
    except ValueError as error:
        say(error)
        return 2
    return _rewrite(given)


def _rewrite(given: dict[str, str]) -> int:
    # Imported here: they take a second, and `--help` or a misspelt key needs none of them.
    from eigenselect.compressors import load
    from eigenselect.export import VerificationError, rewrite_host

    host, source, out = (Path(given[key]) for key in ("host", "payload", "out"))
    try:
        folder = source if source.is_dir() else None
        report = rewrite_host(
            host,
            load(source if folder is None else folder / "payload.safetensors"),
            out,
            tied=given.get("tied", "refuse"),  # type: ignore[arg-type]  # checked there
            target=given.get("target", "portable"),  # type: ignore[arg-type]  # checked there
            inputs=Path(given["inputs"]) if "inputs" in given else None,
            recorded_error=None if folder is None else recorded_error(folder / "selection.json"),
        )
    except (ValueError, OSError) as error:
        say(error)
        return 2
    except VerificationError as error:
        say(error)
        return 1
    print(f"{out}\n{report}")
    return 0


def recorded_error(path: Path) -> float | None:
    """Relative reconstruction error of the chosen candidate as `selection.json` has it; None without that file.

    Raises:
        ValueError: not such a file.
    """
    if not path.exists():
        return None
    from eigenselect.selector.decision.record import read_decision

    try:
        measures = read_decision(path).chosen.measures
    except ValueError as error:
        raise ValueError(f"{path} is not a record of a selection ({error}): give the payload's file alone") from error
    return measures.get("reconstruction_error_relative")
