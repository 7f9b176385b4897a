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
import re
import subprocess
import sys
from collections.abc import Iterator
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
    """Commands, each with what it prints."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": paths, "COLUMNS": "80", "NO_COLOR": "1"}
    for command, code, wanted in commands(text):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert done.returncode == code, f"{command}\nended with {done.returncode}:\n{done.stdout}"
        if wanted.strip():
            alike = doctest.OutputChecker().check_output(wanted, done.stdout, FLAGS)
            assert alike, f"{command}\nprinted\n{done.stdout}\nand not\n{wanted}"


def commands(text: str) -> Iterator[tuple[str, int, str]]:
    """Each command of a console block, its exit code and what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        while command.endswith("\\"):
            more, _, printed = printed.partition("\n")
            command += "\n" + more.removeprefix("> ")
        code = re.search(r"  # exit (\d+)$", command)
        yield command, int(code[1]) if code else 0, printed
