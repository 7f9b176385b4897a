"""The blocks of a document that a reader runs, run one after the other in a folder.

    pycon    an interpreter's session: what it prints is compared, `...` stands for any text
    python   a program: it must not fail
    console  `$` and a command for bash, then what it prints, `...` again for any text; `$ command  # exit 3` for a code
    others   with title="PATH": a file of that content; without: to be read, not run

All Python of a page shares one namespace, as in one sitting.
"""

from __future__ import annotations

import doctest
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"^```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is, if it is one, and its text."""

    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]+)"', match["rest"])
        found.append(Block(match["language"], title[1] if title else None, match["text"]))
    return found


def run(page: Path, folder: Path) -> int:
    """Run a page in `folder`, which is the working one; how many blocks were run."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for block in blocks(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "pycon":
            session(block.text, names)
        elif block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
        elif block.language == "console":
            console(block.text, folder)
        else:
            continue
        count += 1
    return count


def session(text: str, names: dict[str, Any]) -> None:
    """An interpreter's session."""
    test = doctest.DocTestParser().get_doctest(text, names, "page", None, 0)
    test.globs = names  # and no copy: the next block goes on with them
    doctest.DebugRunner(optionflags=FLAGS).run(test, clear_globs=False)


def console(text: str, folder: Path) -> None:
    """Commands, each with what it prints on a terminal of 80 columns."""
    for command, code, wanted in commands(text):
        status, printed = on_terminal(command, folder)
        assert status == code, f"{command}\nended with {status}:\n{printed}"
        assert not wanted.strip() or alike(wanted, printed), f"{command}\nprinted\n{printed}\nand not\n{wanted}"


def commands(text: str) -> Iterator[tuple[str, int, str]]:
    """Each command of a console block, its exit code and what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        while command.endswith("\\"):
            more, _, printed = printed.partition("\n")
            command += "\n" + more.removeprefix("> ")
        code = re.search(r"  # exit (\d+)$", command)
        yield command, int(code[1]) if code else 0, printed


def on_terminal(command: str, folder: Path) -> tuple[int, str]:
    """Exit code of a command, and what it prints there, its errors last."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": paths, "COLUMNS": "80", "LINES": "24", "TERM": "dumb", "NO_COLOR": "1"}
    ours, theirs = pty.openpty()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, stdout=theirs, stderr=errors)
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # the other end is closed
            while block := os.read(ours, 1 << 16):
                printed += block
        os.close(ours)
        status = process.wait()
        errors.seek(0)
        return status, printed.decode().replace("\r\n", "\n") + errors.read()


NUMBER = re.compile(r"[-(]*(?P<digits>\d[\d,]*(\.\d+)?(e[-+]\d+)?)(?P<times>x)?[%),.;:]*")


def alike(wanted: str, printed: str) -> bool:
    """Whether `printed` is `wanted`, word by word, where `...` stands for any words.

    Numbers may differ by a tenth, those that end in x, which are times of this machine among others, by anything.
    """
    runs = [run.split() for run in re.split(r"(?:^|(?<=\s))\.\.\.(?=\s|$)", wanted)]
    words = printed.split()
    if len(runs) == 1:
        return len(words) == len(runs[0]) and all(map(same, runs[0], words))
    at = 0
    for place, run in enumerate(runs):
        starts = [len(words) - len(run)] if place == len(runs) - 1 else [0] if place == 0 else range(at, len(words))
        found = [start for start in starts if start >= at and _there(run, words[start : start + len(run)])]
        if not found:
            return False
        at = found[0] + len(run)
    return True


def _there(run: list[str], words: list[str]) -> bool:
    return len(run) == len(words) and all(map(same, run, words))


def same(wanted: str, printed: str) -> bool:
    """Whether a word stands for another."""
    one, other = NUMBER.fullmatch(wanted), NUMBER.fullmatch(printed)
    if wanted == printed or one is None or other is None:
        return wanted == printed
    if one["times"] or other["times"]:
        return one["times"] == other["times"]
    a, b = (float(match["digits"].replace(",", "")) for match in (one, other))
    return abs(a - b) <= 0.1 * max(a, b)
