"""The console command: `eigenselect [COMMAND] key=value ...`; `python -m eigenselect` is the same.

Exit codes of every command: 0 done; 1 a bug of ours, or something that failed its verification; 2 what was given cannot
be used, and one line says why; 130 stopped by Ctrl-C; 143 stopped by SIGTERM. `docs/command.md` has those of each.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType

from eigenselect.version import __version__

COMMANDS = {
    "export": "eigenselect.selector.commands.export",
    "check": "eigenselect.selector.commands.check",
    "plan": "eigenselect.selector.commands.plan",
    "validate": "eigenselect.selector.commands.validate",
    "card": "eigenselect.selector.commands.card",
    "push": "eigenselect.selector.commands.push",
    "native": "eigenselect.selector.commands.native",
}
"""Word -> the module whose `main` takes the words after it. Without one of them it is the main job."""

MAIN_JOB = "eigenselect.selector.commands.select"

MOMENT = 0.01
"""Seconds."""

_stopped_by: list[int] = []
"""The signals that asked this process to stop."""


def main() -> None:
    """Run the command that the arguments of this process name, and exit with its code."""
    listen()
    sys.exit(run(sys.argv[1:]))


def listen() -> None:
    """Take SIGINT and SIGTERM as a wish to stop, whatever this process is at."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.signal(signal.SIGALRM, _again)
        sys.unraisablehook = _unheard


def _stop(number: int, frame: FrameType | None) -> None:
    """End as by an exception, so that what is open is closed and the run is marked as killed."""
    _stopped_by.append(number)
    raise KeyboardInterrupt


def _unheard(ignored: sys.UnraisableHookArgs) -> None:
    """Stop a moment later where Python has to ignore it: in what runs when an object goes."""
    if _stopped_by and issubclass(ignored.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, MOMENT)
    else:
        sys.__unraisablehook__(ignored)


def _again(number: int, frame: FrameType | None) -> None:
    """End as `_stop` does, once `_unheard` is over: it would be ignored in there too."""
    if frame is not None and frame.f_code is _unheard.__code__:
        signal.setitimer(signal.ITIMER_REAL, MOMENT)
        return
    raise KeyboardInterrupt


def run(words: Sequence[str]) -> int:
    """The exit code of `eigenselect words`."""
    return guarded(lambda: _run([*words]))


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`, or of how it ended: with a bug, or stopped."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough; what is left in the buffer must not be tried again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        number = _stopped_by[-1] if _stopped_by else signal.SIGINT
    except Exception:
        if not _stopped_by:
            traceback.print_exc()
            return 1
        number = _stopped_by[-1]  # a library in C turned the interrupt into an error of its own
    print("stopped: the same command goes on from here", file=sys.stderr)
    return 128 + number


def _run(words: list[str]) -> int:
    if "--version" in words:
        print(f"eigenselect {__version__}")
        return 0
    # Imported here: the version needs none of it.
    from eigenselect.selector.commands.completion import complete
    from eigenselect.selector.commands.help import help_of
    from eigenselect.selector.commands.words import JOB, say
    from eigenselect.selector.pool.build import suggestion

    if words[:1] == ["-sc"] and (line := os.environ.get("COMP_LINE")):
        words = complete(line, COMMANDS, words)
        if not words:
            return 0
    if words[:1] == [JOB]:
        from eigenselect.selector.commands import launched

        return launched.main(words[1:])
    command = words.pop(0) if words and words[0] in COMMANDS else None
    if command is None and words and words[0].isalpha():
        say(f"there is no command {words[0]}: {suggestion(words[0], COMMANDS)}; settings are written key=value")
        return 2
    if {"-h", "--help"} & {*words}:
        print(help_of(command))
        return 0
    code: int = import_module(COMMANDS[command] if command else MAIN_JOB).main(words)
    return code


if __name__ == "__main__":
    main()
