"""fastText models, `.bin`: the rows of whole words, memory-mapped.

Format: Bojanowski et al., fastText (2017), `FastText::saveModel`, versions 11 and 12: the settings, the dictionary,
whether the matrix is quantized, and the matrix: a row for each word, then one for each bucket of subwords.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np

from eigenselect.selector.sources.fields import decode
from eigenselect.selector.sources.format import Format, Found, Request

MAGIC = struct.pack("<i", 793712314)

CURE = "use the .vec file that fastText writes beside it"

SETTINGS_BYTES = struct.calcsize("<14id")


def read(request: Request) -> Found:
    """Read the rows of a model's words. Those of subwords, of which fastText adds some to each, are left out, and said.

    Raises:
        ValueError: a quantized model, or one that is cut or of another version.
    """
    path = request.path
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            d, buckets = _settings(content, path)
            words, at = _words(content)
            quantized, rows, columns = struct.unpack_from("<?qq", content, at)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{path}: the fastText model ends too early: fetch it again") from error
    if quantized:
        raise ValueError(f"{path}: a quantized fastText model, which is not read: {CURE}, or the one before quantize")
    at += 17
    if not (0 < len(words) <= rows and columns == d > 0 and path.stat().st_size >= at + 4 * rows * d):
        raise ValueError(f"{path}: a fastText model without a matrix of {len(words)} x {d}: fetch it again, or {CURE}")
    remarks = []
    if buckets and rows > len(words):
        remarks.append(
            f"The rows are those of whole words: fastText's own vectors also average {rows - len(words):,} rows of "
            "subwords in, as those of the .vec file do."
        )
    return Found(np.memmap(path, "<f4", "r", at, (len(words), d)), words, remarks)


def _settings(content: mmap.mmap, path: Path) -> tuple[int, int]:
    """Dimension, and buckets of subwords that are used."""
    _, version, d, *_, buckets, _, longest, _, _ = struct.unpack_from("<14id", content)
    if version not in (11, 12):
        raise ValueError(f"{path}: a fastText model of version {version}, 11 and 12 are read: {CURE}")
    return d, buckets if longest else 0


def _words(content: mmap.mmap) -> tuple[list[str], int]:
    """The words of the dictionary, which come before its labels, and where it ends."""
    size, count, _, _, pruned = struct.unpack_from("<iiiqq", content, SETTINGS_BYTES)
    at, words = SETTINGS_BYTES + 28, []
    for _ in range(size):
        if (end := content.find(b"\0", at)) < 0:
            raise struct.error("no end of a word")
        words.append(content[at:end])
        at = end + 10  # its count and its type follow
    return [decode(word) for word in words[:count]], at + 8 * max(pruned, 0)


FORMAT = Format(
    name="fasttext",
    starts=lambda path, head: head.startswith(MAGIC),
    read=read,
    own_tokens=True,
)
