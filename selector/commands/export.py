"""The command: `eigenselect export host=MODEL.onnx payload=DIR out=NEW.onnx`.

Puts a chosen payload into an existing model. `payload` is the folder of a hand-over, or a payload file. Further words:
`tied=keep`, `inputs=FILE.npz`, `target=NAME`; see `export.rewrite_host`.

Exit codes: 0 done; 1 a bug of ours, or a model that failed verification; 2 the user's input.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from eigenselect.compressors import load
from eigenselect.export.arguments import settings
from eigenselect.export.host.rewrite import rewrite_host
from eigenselect.export.verify.parity import VerificationError
from eigenselect.selector.decision.record import FILE, read_decision

REQUIRED = ("host", "payload", "out")
KNOWN = (*REQUIRED, "tied", "target", "inputs")


def main(words: list[str]) -> int:
    """Do what `words` say; the exit code."""
    try:
        given: dict[str, Any] = dict(settings(words, KNOWN))
        if missing := [key for key in REQUIRED if key not in given]:
            raise ValueError(f"required and not given: {', '.join(f'{key}=...' for key in missing)}")
        source, out = Path(given.pop("payload")), Path(given.pop("out"))
        folder = source if source.is_dir() else None
        payload = load(source if folder is None else folder / "payload.safetensors")
        recorded = None if folder is None else recorded_error(folder / FILE)
        if "inputs" in given:
            given["inputs"] = Path(given["inputs"])
        report = rewrite_host(Path(given.pop("host")), payload, out, recorded_error=recorded, **given)
    except (ValueError, OSError) as error:
        say(error)
        return 2
    except VerificationError as error:
        say(error)
        return 1
    except Exception:
        traceback.print_exc()
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
    try:
        measures = read_decision(path).chosen.measures
    except ValueError as error:
        raise ValueError(f"{path} is not a record of a selection ({error}): give the payload's file alone") from error
    return measures.get("reconstruction_error_relative")


def say(error: BaseException) -> None:
    """One line on stderr."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
