"""Pictures of what a person sees, for docs/images: the terminal at 80 columns, the report, MLflow's pages.

    python scripts/screenshots.py OUT table.path=PATH budget=6.5MB

makes the selection in a folder of its own and needs Chromium. The words are those of the main job, without `out`.
"""

from __future__ import annotations

import io
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

SIZES = {"report": (1400, 1900), "report-narrow": (390, 1900)}
"""Name of a picture of the report -> width and height in pixels."""


def browser() -> str | None:
    """The browser that takes the pictures, if there is one."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def main(out: Path, words: Sequence[str]) -> None:
    """Make all pictures in the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above)
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "TERM": "xterm"}
        text = _on_terminal([*words, f"out={folder}/o"], environment).replace(above, "/home/me")
        terminal = Console(width=80, record=True, file=io.StringIO())
        terminal.print(Text.from_ansi(text))
        (out / "terminal.svg").write_text(terminal.export_svg(title="eigenselect"), encoding="utf-8")
        report = (folder / "o" / "report.html").as_uri()
        for name, size in SIZES.items():
            _shoot(report, out / f"{name}.png", size)
        _browse(f"--print-to-pdf={(out / 'report.pdf').resolve()}", report)
        address = next(line.split()[1] for line in text.splitlines() if line.startswith("UI: "))
        with _served(environment) as base:
            _shoot(f"{base}/#{address.partition('#')[2]}", out / "mlflow.png", (1500, 950))


def _on_terminal(words: Sequence[str], environment: dict[str, str]) -> str:
    """What the command leaves on a terminal of 80 columns."""
    main_end, other = pty.openpty()
    os.set_blocking(main_end, True)
    command = [sys.executable, "-m", "eigenselect", *words]
    environment = {**environment, "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(command, env=environment, stdout=other, stderr=subprocess.DEVNULL)
    os.close(other)
    read: list[bytes] = []
    try:
        while block := os.read(main_end, 1 << 16):
            read.append(block)
    except OSError:  # the other end is closed
        pass
    if process.wait():
        raise SystemExit(f"the selection ended with {process.returncode}")
    return b"".join(read).decode().replace("\r\n", "\n")


@contextmanager
def _served(environment: dict[str, str]) -> Iterator[str]:
    """MLflow's pages of the store, at the address that is given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", environment["MLFLOW_TRACKING_URI"]]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, **quiet)  # type: ignore[call-overload]
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _shoot(address: str, path: Path, size: tuple[int, int]) -> None:
    _browse(f"--window-size={size[0]},{size[1]}", f"--screenshot={path.resolve()}", address)


def _browse(*arguments: str) -> None:
    """Run the browser without a window; the time that scripts see runs on once nothing is loading."""
    found = browser()
    if found is None:
        raise SystemExit(f"no browser of {', '.join(BROWSERS)}: install Chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=30000"]
    subprocess.run([found, *flags, *arguments], check=True, capture_output=True, timeout=300)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
