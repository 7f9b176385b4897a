"""Which format a file is in: its content first, its extension second."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

from eigenselect.selector.sources import npy
from eigenselect.selector.sources.fields import BLANK, NO_TOKEN, delimiter_of, is_number, lacks_token, shown
from eigenselect.selector.sources.stream import BOM, GZIP_MAGIC
from eigenselect.selector.sources.word2vec_text import HEADER

HEAD_BYTES = 1 << 20

FASTTEXT = (
    "a fastText model, not a table of vectors: use the .vec file that fastText writes beside it, "
    "or write the vectors of your words out as .vec or .npy"
)
ZIP_CURES = {
    ".npz": "take the one array out: numpy.save(new, numpy.load(old)[name])",
    ".pt": "save the tensor as .safetensors",
    ".pth": "save the tensor as .safetensors",
    ".bin": "if it is a PyTorch checkpoint, save the tensor as .safetensors; otherwise unzip it",
}
MAGICS = {
    b"\xba\x16\x4f\x2f": FASTTEXT,
    b"\x89HDF\r\n\x1a\n": "an HDF5 file: write the array out with numpy.save and give the .npy file",
    b"\x80\x02": "a pickle, which could run code: save the array as .npy or the tensor as .safetensors",
    b"\x80\x03": "a pickle, which could run code: save the array as .npy or the tensor as .safetensors",
    b"\x80\x04": "a pickle, which could run code: save the array as .npy or the tensor as .safetensors",
    b"\x80\x05": "a pickle, which could run code: save the array as .npy or the tensor as .safetensors",
}
ONNX_NEXT = (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42")
"""Tags that follow ir_version at the start of an ONNX file (protobuf fields 2 to 8)."""


WIDE = ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE")
SAMPLE_BYTES = 1 << 12
SAMPLE_LINES = 10


def head_of(path: Path) -> tuple[bytes, bool]:
    """The first `HEAD_BYTES` of the content, and whether it is gzipped.

    Raises:
        ValueError: the gzip data are truncated or corrupt.
    """
    with path.open("rb") as raw:
        head = raw.read(HEAD_BYTES)
    if not head.startswith(GZIP_MAGIC):
        return head, False
    try:
        with gzip.open(path) as file:
            return file.read(HEAD_BYTES), True
    except EOFError as error:
        raise ValueError(f"{path}: the gzip data end too early: fetch the file again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: corrupt gzip data ({error}): fetch the file again") from error


def refusal(path: Path, head: bytes) -> str | None:
    """Why a file that starts with `head` is not read, and what to do instead; None if it may be read."""
    if head.startswith(b"PK\x03\x04"):
        return f"a zip archive: {ZIP_CURES.get(path.suffix, 'unzip it and give the file inside')}"
    for magic, reason in MAGICS.items():
        if head.startswith(magic):
            return reason
    if _is_old_fasttext(head):
        return FASTTEXT
    return None


def not_rows_of_text(head: bytes, given: str | None) -> str | None:
    """Why a file of text that starts with `head` is not read as a token and numbers a line, and what to do instead."""
    for encoding in WIDE:
        text = head[: min(SAMPLE_BYTES, len(head) // 4 * 4)].decode(encoding, "replace")
        if 2 * sum(character.isascii() and character.isprintable() for character in text) > len(text):
            return f"text in {encoding}: save it as UTF-8 (iconv -f {encoding} -t UTF-8)"
    lines = head.removeprefix(BOM).split(b"\n", SAMPLE_LINES)[:SAMPLE_LINES]
    lines = [line for line in lines if line.strip()]
    if given is None and lines and all(map(lacks_token, lines)):
        return f"line 1, {shown(lines[0])}, has {NO_TOKEN}; or, if its first number is the token, table.format=glove"
    return None


def _is_old_fasttext(head: bytes) -> bool:
    """Whether the 12 settings that opened a fastText model before it had a magic number are plausible."""
    if len(head) < 56:
        return False
    dim, ws, epoch, _, _, ngrams, loss, model, _, minn, maxn, _ = struct.unpack_from("<12i", head)
    small = all(0 < value < 1 << 16 for value in (dim, ws, epoch, ngrams))
    return small and loss in (1, 2, 3) and model in (1, 2, 3) and 0 <= minn <= maxn < 1 << 8


def format_of(path: Path, head: bytes) -> str | None:
    """Name of the format of a file that starts with `head`; None if no format fits."""
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and 1 <= head[1] <= 32 and head[2:3] in ONNX_NEXT):
        return "onnx"
    if head.startswith(npy.MAGIC):
        return "npy"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    text = head.removeprefix(BOM)
    line, _, rest = text.partition(b"\n")
    if HEADER.fullmatch(line + b"\n"):
        return "word2vec-text" if _is_row(rest) else "word2vec-binary"
    if b"\0" not in line and _is_row(text):
        return "glove"
    return {".npy": "npy", ".safetensors": "safetensors"}.get(path.suffix)


def _is_row(text: bytes) -> bool:
    """Whether the first line looks like a token and numbers: its last field is one, or enough of them are.

    One bad value does not turn text into something else: the reader then names the line.
    """
    line = text.partition(b"\n")[0].rstrip(BLANK)
    fields = line.split(delimiter_of(line))[1:]
    numbers = sum(map(is_number, fields))
    return 2 * numbers > len(fields)
