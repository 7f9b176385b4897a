"""The blocks of a document that a reader runs, run one after the other in a folder.

    pycon    an interpreter's session: what it prints is compared, `...` stands for any text
    python   a program: it must not fail
    console  `$` and a command for bash, then what it prints, `...` again for any text; `$ command  # exit 3` for a code
    bash     commands alone
    others   with title="PATH": a file of that content; without, of those in READ: to be read, not run

All Python of a page shares one namespace, as in one sitting. A command in the text, between backquotes, is run as those
in blocks are, if it gives settings: `eigenselect check DIR table=NEW`. `tests/pages.py` says what stands for DIR.
"""

from __future__ import annotations

import doctest
import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.running import command

DOCS = Path(__file__).resolve().parents[1] / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
READ = ("text", "json", "yaml", "toml")
"""Languages of what is shown."""

PIECE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^ *```$|`(?P<inline>[^`\n]+)`",
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"eigenselect .*=|mlflow run \.|python (?!-m eigenselect)|(?:make|pip|npm|git|hf) ")
"""How commands in the text begin that are more than a name."""

OURS = re.compile(r"^(?:python -m )?eigenselect ")
SHELL = re.compile(r"[|;&<>$`]")


@dataclass(frozen=True)
class Piece:
    """What a page shows.

    Attributes:
        language: of a block; "inline" for a command in the text.
        title: the file that it is, if it is one.
        text: what stands there.
    """

    language: str
    title: str | None
    text: str


@dataclass(frozen=True)
class Command:
    """One for bash.

    Attributes:
        text: of one line, or of several that belong together.
        code: that it ends with.
        prints: what it prints, where that is shown.
    """

    text: str
    code: int = 0
    prints: str = ""


@dataclass(frozen=True)
class Reader:
    """Who runs a page.

    Attributes:
        words: what a page writes for what is the reader's own -> what they have.
        pool: settings of each selection that names no candidates.
        compares: whether what is printed is that of the page.
        runs: whether a command or a program is run; without, it is passed over.
        starts: runs a command that stays, a server, and says whether it was one.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    pool: tuple[str, ...] = ()
    compares: bool = True
    runs: Callable[[str], bool] = lambda text: True
    starts: Callable[[str], bool] = lambda text: False

    def fill(self, text: str) -> str:
        """The text with the reader's own words; what may be left out, ` [key=value]`, is given."""
        for word in sorted(self.words, key=len, reverse=True):
            text = re.sub(rf"(?<![\w.]){re.escape(word)}(?!\w)", self.words[word].replace("\\", r"\\"), text)
        return re.sub(r" \[([a-z.]+=[^\]\s]+|[A-Z]+)\]", r" \1", text)


def pieces(page: Path) -> list[Piece]:
    """The blocks of a page and the commands in its text, in their order."""
    found = []
    for match in PIECE.finditer(page.read_text(encoding="utf-8")):
        if match["inline"] is None:
            title = re.search(r'title="([^"]+)"', match["rest"])
            text = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
            found.append(Piece(match["language"], title[1] if title else None, text))
        elif INLINE.match(match["inline"]):
            found.append(Piece("inline", None, match["inline"]))
    return found


def run(page: Path, folder: Path, reader: Reader = Reader()) -> int:
    """Run a page in `folder`, which is the working one; how many commands, programs and files there were."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for piece in pieces(page):
        if piece.title:
            (folder / piece.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / piece.title).write_text(piece.text, encoding="utf-8")
        elif piece.language in ("pycon", "python"):
            if not reader.runs(piece.text):
                continue
            (session if piece.language == "pycon" else program)(reader.fill(piece.text), names)
        else:
            asked = [each for each in commands(piece) if reader.runs(each.text)]
            for each in asked:
                obey(each, folder, reader)
            count += len(asked) - 1
        count += 1
    return count


def session(text: str, names: dict[str, Any]) -> None:
    """An interpreter's session."""
    test = doctest.DocTestParser().get_doctest(text, names, "page", None, 0)
    test.globs = names  # and no copy: the next block goes on with them
    doctest.DebugRunner(optionflags=FLAGS).run(test, clear_globs=False)


def program(text: str, names: dict[str, Any]) -> None:
    """A program."""
    exec(compile(text, "page", "exec"), names)


def commands(piece: Piece) -> list[Command]:
    """The commands of a piece, none of one that is only shown."""
    if piece.language == "inline":
        return [Command(piece.text)]
    if piece.language == "console":
        return list(_prompts(piece.text))
    if piece.language == "bash":
        lines = [piece.text] if "<<" in piece.text else piece.text.replace("\\\n", "").splitlines()
        return [Command(line) for line in lines if line]
    return []


def _prompts(text: str) -> Iterator[Command]:
    """Each command of a console block, its exit code and what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        asked, _, printed = part.partition("\n")
        while asked.endswith("\\"):
            more, _, printed = printed.partition("\n")
            asked += "\n" + more.removeprefix("> ")
        code = re.search(r"  # exit (\d+)$", asked)
        yield Command(asked, int(code[1]) if code else 0, printed)


def obey(asked: Command, folder: Path, reader: Reader) -> None:
    """Run a command, and see that it ends and prints as it should."""
    text = reader.fill(asked.text)
    if reader.starts(text):
        return
    if OURS.match(text) and reader.pool and not re.search(r"candidates=|--|^\S+ (check|card|push|export) ", text):
        text = re.sub(r"(?=  +#|$)", " " + shlex.join(reader.pool), text, count=1)
    plain = OURS.match(text) and not SHELL.search(re.sub(r"'[^']*'| #.*", "", text))
    status, printed = here(text) if plain and not reader.compares else on_terminal(text, folder)
    assert status == asked.code, f"{text}\nended with {status}:\n{printed}"
    if reader.compares and asked.prints.strip():
        assert alike(asked.prints, printed), f"{text}\nprinted\n{printed}\nand not\n{asked.prints}"


def here(text: str) -> tuple[int, str]:
    """Exit code of an `eigenselect` command in this process, and what it prints."""
    words = shlex.split(OURS.sub("", text), comments=True)
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(printed):
        return command(*words), printed.getvalue()


def on_terminal(text: str, folder: Path) -> tuple[int, str]:
    """Exit code of a command, and what it prints on a terminal of 80 columns, its errors last."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": paths, "COLUMNS": "80", "LINES": "24", "TERM": "dumb", "NO_COLOR": "1"}
    ours, theirs = pty.openpty()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            ["bash", "-e", "-c", text], cwd=folder, env=environment, stdout=theirs, stderr=errors
        )
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # the other end is closed
            while block := os.read(ours, 1 << 16):
                printed += block
        os.close(ours)
        status = process.wait()
        errors.seek(0)
        return status, printed.decode().replace("\r\n", "\n") + errors.read()


NUMBER = re.compile(r"[-('\"]*(?P<digits>\d[\d,]*(\.\d+)?(e[-+]\d+)?)(?P<times>x)?[%),.;:]*")


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
