"""What a hand-over consists of: its manifest, written last, and read as data that anyone may have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eigenselect.compressors.whole import MANIFEST, check_whole, fingerprint
from eigenselect.compressors.words import NAME, brief, quoted
from eigenselect.selector.decision.plain import read_json
from eigenselect.selector.decision.record import Decision
from eigenselect.selector.store.output import OF_TABLES

MANIFEST_VERSION = 1


def write_manifest(folder: Path, decision: Decision) -> None:
    """List every file of `folder`, the last step of a hand-over; of the decision only what names it."""
    manifest = {
        "version": MANIFEST_VERSION,
        "chosen": decision.chosen.name,
        "table_digest": decision.table.digest,
        "run_id": decision.run_id,
        "versions": decision.versions,
        "files": {
            path.relative_to(folder).as_posix(): fingerprint(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a hand-over.

    Raises:
        ValueError: no folder, one that is not whole, no manifest, an unreadable one, or one of another version.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the one that a selection wrote as out=DIR")
    check_whole(folder)
    path = folder / MANIFEST
    if (folder / OF_TABLES[0]).is_file():
        raise ValueError(f"{folder} is the hand-over of many tables: give the folder of one of them, {folder}/NAME")
    if not path.is_file():
        raise ValueError(
            f"{folder} has no {MANIFEST}: it is not a hand-over, or is one without a manifest: select again"
        )
    manifest = read_json(path)
    if (version := manifest.get("version")) != MANIFEST_VERSION:
        raise ValueError(
            f"{path} is of version {brief(repr(version), NAME)}, this program reads {MANIFEST_VERSION}: "
            "upgrade eigenselect"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise ValueError(f"{path} lists no files: it was changed after it was written")
    if outside := [name for name in files if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise ValueError(f"{path} lists {quoted(outside[0])}: a hand-over holds files of its own folder alone")
    return manifest
