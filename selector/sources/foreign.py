"""Files that are something else than a table: what each is, how its first bytes show it, and the cure."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NamedTuple

from eigenselect.selector.sources.fields import is_row
from eigenselect.selector.sources.stream import BOM, ZIP, ZIP_START, Packing, packing_of

HEAD_BYTES = 1 << 16
"""What is looked at."""


class Foreign(NamedTuple):
    """A kind of file that is not read.

    Attributes:
        start: matches the first bytes of its files, and of no table.
        reason: what it is, and the cure.
    """

    start: re.Pattern[bytes]
    reason: str


def _kind(start: bytes, reason: str) -> Foreign:
    return Foreign(re.compile(start, re.DOTALL), reason)


NOT_FETCHED = (
    _kind(
        rb"version https://git-lfs\.github\.com/spec/",
        "a git-lfs pointer, not the file itself: fetch it with git lfs pull",
    ),
    _kind(
        rb"(?i)\s*<(!doctype\s+html|html\b[^>]*>\s*<|\?xml\s)",
        "an HTML or XML page, such as a server sends in place of a file that it does not give: fetch the file again",
    ),
)
"""What is left of a download that went wrong."""

ARCHIVES = (
    _kind(rb".{257}ustar(\0|  \0)", "a tar archive: unpack it with tar -xf and give the file inside"),
    _kind(rb"PK\x03\x04", "a zip archive that is cut or holds several files: unzip it and give the file of the table"),
    _kind(rb"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it with 7z x and give the file inside"),
)

FASTTEXT = (
    "a fastText model, not a table of vectors: use the .vec file that fastText writes beside it, "
    "or write the vectors of your words out as .vec or .npy"
)

OTHERS = (
    _kind(rb"\x89HDF\r\n\x1a\n", "an HDF5 file: write the array out with numpy.save and give the .npy file"),
    # A safetensors header of 640 bytes starts as a pickle does.
    _kind(
        rb"\x80[\x02-\x05](?!\0{6}\{)",
        "a pickle, which could run code: save the array as .npy or the tensor as .safetensors",
    ),
    _kind(
        rb"..\0\0ORTM",
        "a model in the .ort format of ONNX Runtime: give the .onnx model that it was converted from",
    ),
    _kind(
        rb"..\0\0TFL3",
        "a TFLite model: save its table with numpy.save (tf.lite.Interpreter(path).get_tensor) and give the .npy file",
    ),
    _kind(
        rb"SQLite format 3\0",
        "an SQLite database, as Magnitude files are: write each word and its vector out as a line of text "
        "(for word, vector in pymagnitude.Magnitude(path))",
    ),
    _kind(
        rb"FiFu\0\0\0\0",
        "a finalfusion file: convert it with ffp-convert -f finalfusion -t word2vec OLD NEW (pip install finalfusion)",
    ),
    _kind(
        rb"\s*(\{\s*[\"}]|\[\s*[\[{\"\d-])",
        "JSON: write each token and its numbers as a line of text, with one space between them",
    ),
)


def table_refusal(head: bytes, packing: Packing | None) -> str | None:
    """Why a file is no table, whose content starts with `head` when it is unpacked, and the cure; None if it may be."""
    head = head[:HEAD_BYTES].removeprefix(BOM)
    line = head.partition(b"\n")[0]
    if b"\0" not in line and is_row(line):
        return None
    inner = ZIP if head.startswith(ZIP_START) else packing_of(head)
    if packing and inner:
        return f"packed twice, the second time in {inner.name}: unpack it once, with {packing.tool}"
    if _is_old_fasttext(head):
        return FASTTEXT
    return _first(head, (*NOT_FETCHED, *ARCHIVES, *OTHERS))


def not_fetched(head: bytes) -> str | None:
    """What a file that starts with `head` is of a download that went wrong, and the cure; None if it is none."""
    return _first(head, NOT_FETCHED)


def check_list(path: Path) -> None:
    """Raise a ValueError if a list of tokens or counts was not fetched or is packed."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if packing := packing_of(head):
        raise ValueError(f"{path}: packed in {packing.name}: unpack it with {packing.tool}")
    if reason := _first(head, (*NOT_FETCHED, *ARCHIVES)):
        raise ValueError(f"{path}: {reason}")


def _first(head: bytes, kinds: tuple[Foreign, ...]) -> str | None:
    return next((kind.reason for kind in kinds if kind.start.match(head)), None)


def _is_old_fasttext(head: bytes) -> bool:
    """Whether the 12 settings that opened a fastText model before it had a magic number are plausible."""
    if len(head) < 56:
        return False
    dim, ws, epoch, _, _, ngrams, loss, model, _, minn, maxn, _ = struct.unpack_from("<12i", head)
    small = all(0 < value < 1 << 16 for value in (dim, ws, epoch, ngrams))
    return small and loss in (1, 2, 3) and model in (1, 2, 3) and 0 <= minn <= maxn < 1 << 8
