"""The command: `eigenselect export host=MODEL.onnx payload=DIR out=NEW.onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eigenselect.selector.commands.configuration import settings_of
from eigenselect.selector.commands.words import say, settings
from eigenselect.selector.terminal import terminal

if TYPE_CHECKING:
    from eigenselect.export import Kept


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
            kept=kept_rows(folder, given.get("remap", "false"), given.get("oov", "error")),
        )
    except (ValueError, OSError) as error:
        say(error)
        return 2
    except VerificationError as error:
        say(error)
        return 1
    console = terminal()
    console.print(str(out), soft_wrap=True)
    console.print(str(report))
    return 0


def kept_rows(folder: Path | None, remap: str, oov: str) -> Kept | None:
    """The rows that a pruned hand-over has of its table, as its `id_map.csv` says; None where it has all.

    Raises:
        ValueError: not such a file, or settings that are of no use.
    """
    from eigenselect.export import Kept
    from eigenselect.selector.sources.tokens import read_id_map

    if remap not in ("true", "false"):
        raise ValueError(f"remap = {remap!r}: must be true or false")
    path = None if folder is None else folder / "id_map.csv"
    if path is None or not path.exists():
        if remap == "true":
            raise ValueError("remap=true is for a pruned table: give the folder of its hand-over, with its id_map.csv")
        return None
    rows, tokens = read_id_map(path)
    if oov not in ("error", "zeros") and oov not in tokens:
        raise ValueError(f"oov = {oov!r} is neither error nor zeros nor a token of {path}: name one that it has")
    return Kept(rows, remap == "true", oov if oov in ("error", "zeros") else tokens.index(oov))


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
