"""What a hand-over says of itself: `selection.json` and `manifest.json`, read as data that anyone may have changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eigenselect.selector.store.output import MANIFEST, MANIFEST_VERSION


@dataclass(frozen=True)
class Record:
    """What `selection.json` says, as far as it is checked.

    Attributes:
        chosen: the entry `chosen`.
        budget: bytes.
        path: of the table.
        reader: the settings that it was read with.
        digest: of the table.
        n: rows of the table.
        providers: execution providers that the model was verified on.
        seed: of the selection.
        run_id: of the selection.
        oov: what the model that takes tokens does with an unknown one; None where there is no such model.
    """

    chosen: dict[str, Any]
    budget: int
    path: str
    reader: Any
    digest: str
    n: int
    providers: list[str]
    seed: int
    run_id: str
    oov: str | None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: the file holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds a {type(found).__name__}: it must be a JSON object")
    return found


def read_record(path: Path) -> Record:
    """Read `selection.json`.

    Raises:
        ValueError: it is not readable, or lacks what is checked.
    """
    raw = read_json(path)
    try:
        chosen, table = raw["chosen"], raw["table"]
        measures = {key: float(value) for key, value in chosen["measures"].items()}
        for entry, keys in ((chosen, ("name", "compressor", "parameters", "nbytes")), (measures, ("eos",))):
            for key in keys:
                entry[key]
        return Record(
            chosen={**chosen, "measures": measures},
            budget=int(raw["budget_bytes"]),
            path=str(table["path"]),
            reader=table["settings"],
            digest=str(table["digest"]),
            n=int(table["n"]),
            providers=list(raw["verification"]["providers"]),
            seed=int(raw["seed"]),
            run_id=str(raw["run_id"]),
            oov=str(raw["words"]["oov"]) if "words" in raw else None,
        )
    except KeyError as error:
        raise ValueError(f"{path.name} lacks {error}: it is of another version of eigenselect, or changed") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} holds something else than a record: {error}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a hand-over.

    Raises:
        ValueError: no folder, no manifest, an unreadable one, or one of another version.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the one that a selection wrote as out=DIR")
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} has no {MANIFEST}: it is no hand-over, or one without a manifest: select anew")
    manifest = read_json(path)
    if (version := manifest.get("version")) != MANIFEST_VERSION:
        raise ValueError(
            f"{path} is of version {version!r}, this program reads {MANIFEST_VERSION}: upgrade eigenselect"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise ValueError(f"{path} lists no files: it was changed after it was written")
    if outside := [name for name in files if Path(name).name != name]:
        raise ValueError(f"{path} lists {outside[0]!r}: a hand-over holds files, without folders")
    return manifest
