r"""word2vec binary (`.bin`): a header `n d\n`, then in each row the token, a space, d little-endian float32.

Format: Mikolov et al., word2vec (2013), `-binary 1`; a newline after each row is optional. Plain or gzipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eigenselect.selector.sources.fields import decode
from eigenselect.selector.sources.stream import Progress, open_stream
from eigenselect.selector.sources.word2vec_text import header

MAX_TOKEN_BYTES = 1 << 16
"""Longest token tried; where no space comes so soon, the rows are not where the header says."""


def read(path: Path, progress: Progress | None = None) -> tuple[npt.NDArray[np.float32], list[str]]:
    r"""Read a word2vec binary table.

    Bytes that are not UTF-8 appear as `\xNN` in the token.

    Returns:
        (n, d) float32 values and the n tokens.

    Raises:
        ValueError: the header is not `n d`; the file ends inside a row (row and missing bytes are named) or
            goes on after the last one; a token is longer than `MAX_TOKEN_BYTES`.
    """
    with open_stream(path, progress) as stream:
        n, d = header(stream.line(), path)
        width = 4 * d
        tokens: list[str] = []
        # No more rows than the file can hold: a wrong header must end in a message, not in an allocation.
        values = np.empty((min(n, stream.limit // (width + 1)), d), np.float32)
        buffer, at = b"", 0
        surplus, extra = b"", 0
        for block in stream.blocks():
            buffer, at = buffer[at:] + block, 0
            while len(tokens) < n:
                start = at + 1 if buffer.startswith(b"\n", at) else at
                space = buffer.find(b" ", start, start + MAX_TOKEN_BYTES + 1)
                if space < 0 and len(buffer) - start > MAX_TOKEN_BYTES:
                    raise ValueError(
                        f"{path}, row {len(tokens)}: no space, where a token would end, within "
                        f"{MAX_TOKEN_BYTES} bytes: the header's dimension {d} or the format is wrong"
                    )
                if space < 0 or space + 1 + width > len(buffer):
                    break
                values[len(tokens)] = np.frombuffer(buffer, "<f4", d, space + 1)
                tokens.append(decode(buffer[start:space]))
                at = space + 1 + width
            if len(tokens) == n:
                surplus = surplus or buffer[at : at + 1]
                extra += len(buffer) - at
                buffer, at = b"", 0
    if len(tokens) < n:
        space = buffer.find(b" ", at + 1 if buffer.startswith(b"\n", at) else at)
        missing = f"{width - (len(buffer) - space - 1)}" if space >= 0 else f"{width} or more"
        raise ValueError(
            f"{path}, row {len(tokens)}: the file ends {missing} bytes before the end of this row; "
            f"{n} rows of dimension {d} are declared: fetch it again, or correct the header"
        )
    extra -= surplus == b"\n"
    if extra:
        raise ValueError(
            f"{path}: {extra} bytes after the last of {n} rows of dimension {d}: the header or the format is wrong"
        )
    return values, tokens
