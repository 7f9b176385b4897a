"""The exported models in a browser: `python benchmarks/web.py`, with Chromium and `npm install onnxruntime-web`.

onnxruntime-web runs in headless Chromium, on one thread of wasm or, with `--provider webgpu`, on what Chromium has for
a GPU. First a payload of each kind and for each operator, as the tests make them: its rows beside those of numpy. Then
times: the least of many turns in which a float32 Gather of the same shape and the model look up the same ids one after
the other, since whatever else the machine does only adds to a time.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eigenselect import EmbeddingTable, Payload, to_onnx  # noqa: E402
from eigenselect.compressors import (  # noqa: E402
    ByteCodebook,
    Compressor,
    Identity,
    KMeans,
    ProductQuantization,
    Spectral,
    TrellisCode,
    Uniform,
)
from eigenselect.compressors.payloads.dense import Dense  # noqa: E402
from eigenselect.export.choices import Target  # noqa: E402
from eigenselect.export.verification.timing import processor  # noqa: E402
from tests.cases import forms, payload_of  # noqa: E402

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

QUIET = (
    *("--headless", "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
"""Options of Chromium: no window, and no words with anyone but this script."""

DEVICES = {
    "wasm": ("--disable-gpu",),
    "webgpu": ("--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader"),
}
"""Options for each provider; without a GPU, SwiftShader computes on the CPU what it would."""

BATCHES = (32, 8_192)

TIMED: tuple[Compressor, ...] = (
    Identity("float16"),
    *(Uniform(bits) for bits in (2, 4, 8)),
    *(KMeans(bits) for bits in (2, 8)),
    ByteCodebook(2),
    ProductQuantization(10),
    Spectral(then=ByteCodebook(2)),
    *(Spectral(then=TrellisCode(bits)) for bits in (1, 2)),
    Spectral(then=TrellisCode(2), fold=True),
)

ROUNDED = 1e-6
"""How far a sum may be off, in parts of the largest entry: sums are made in another order."""

NO_FLOAT16 = "requires f16"
"""In onnxruntime-web's words where WebGPU has no float16, as in SwiftShader."""

LONGEST = 600
"""Seconds that a model may take in all."""


class Plan:
    """Models with ids and the rows that they should give, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.entries = folder, []

    def write(self, array: np.ndarray) -> str:
        """The name of a file with the array's bytes."""
        name = f"{len(list(self.folder.iterdir()))}.bin"
        (self.folder / name).write_bytes(array.tobytes())
        return name

    def model(self, payload: Payload, target: Target) -> str:
        """The name of a file with the model."""
        name = f"{len(list(self.folder.iterdir()))}.onnx"
        (self.folder / name).write_bytes(to_onnx(payload, target=target).SerializeToString())
        return name

    def add(self, name: str, payload: Payload, target: Target, ids: np.ndarray, **timing: Any) -> None:
        """A model whose rows are compared, and timed on `batches` beside `gather` where these are given."""
        self.entries.append(
            {
                "name": name,
                "model": self.model(payload, target),
                "ids": self.write(ids),
                "rows": self.write(payload.read(ids)),
                "batches": timing.get("batches", ()),
                "gather": timing.get("gather"),
            }
        )


class _Handler(SimpleHTTPRequestHandler):
    """Serves the folder, onnxruntime-web under /ort/, and puts what is posted into the queue."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, *args: Any, runtime: Path, results: Queue[Any], **settings: Any) -> None:
        self._runtime, self._results = runtime, results
        super().__init__(*args, **settings)

    def translate_path(self, path: str) -> str:
        return str(self._runtime / path[5:]) if path.startswith("/ort/") else super().translate_path(path)

    def end_headers(self) -> None:
        # Isolated pages have a clock of 5 microseconds, others one of 100.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def do_POST(self) -> None:
        self._results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path, runtime: Path, results: Queue[Any]) -> Iterator[str]:
    """The address of the page."""
    handler = partial(_Handler, directory=str(folder), runtime=runtime, results=results)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/web.html"
        server.shutdown()


def results_of(plan: Plan, chromium: str, runtime: Path, provider: str, rounds: int) -> Iterator[dict[str, Any]]:
    """What the browser says of each entry of the plan, in its order."""
    settings = {"provider": provider, "rounds": rounds, "entries": plan.entries}
    (plan.folder / "plan.json").write_text(json.dumps(settings), encoding="utf-8")
    shutil.copy(Path(__file__).with_suffix(".html"), plan.folder / "web.html")
    results: Queue[Any] = Queue()
    with served(plan.folder, runtime, results) as address, tempfile.TemporaryDirectory() as profile:
        command = [chromium, *QUIET, *DEVICES[provider], f"--user-data-dir={profile}", address]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while (result := results.get(timeout=LONGEST)) != "done":
                yield result
        finally:
            browser.terminate()
            browser.wait()


def every_kind(plan: Plan, targets: tuple[Target, ...]) -> None:
    """A payload of each kind and for each operator."""
    for case in forms():
        payload = payload_of(case, "gaussian")
        ids = np.concatenate([np.arange(payload.n), [-1, -payload.n]])
        for target in targets:
            plan.add(f"{case.id}, {target}", payload, target, ids)


def to_be_timed(plan: Plan, n: int, d: int, targets: tuple[Target, ...]) -> None:
    """Payloads of one table, beside a Gather of it."""
    rng = np.random.default_rng(0)
    table = EmbeddingTable(rng.standard_normal((n, d)).astype(np.float32))
    gather = plan.model(Dense(np.asarray(table.vectors)), "portable")
    batches = [plan.write(rng.integers(0, n, batch)) for batch in BATCHES]
    for compressor in TIMED:
        payload = compressor.compress(table, np.random.default_rng(0))
        for target in targets:
            name = f"{d} | {compressor.name} | {target}"
            plan.add(name, payload, target, rng.integers(0, n, 512), batches=batches, gather=gather)


def is_wrong(result: dict[str, Any]) -> bool:
    """Whether the rows differ by more than the order of a sum; not where a device has no float16, which is its own."""
    if NO_FLOAT16 in result.get("error", ""):
        result["error"] = "the device has no float16"
        return False
    return not result.get("difference", np.inf) <= ROUNDED


def main() -> int:
    """Print the tables; 1 where rows differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--provider", choices=sorted(DEVICES), default="wasm")
    parser.add_argument("--runtime", type=Path, default=ROOT / "node_modules/onnxruntime-web/dist")
    parser.add_argument("--rows", type=int, default=20_000, help="of the tables that are timed, 0 for none")
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and the browser ends too
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.exit(f"none of {', '.join(CHROMIUM)} is on PATH: install one")
    if not (args.runtime / f"ort.{args.provider}.bundle.min.mjs").is_file():
        sys.exit(
            f"{args.runtime} holds no onnxruntime-web: npm install onnxruntime-web, or name its dist with --runtime"
        )
    targets: tuple[Target, ...] = ("portable", "cpu") if args.provider == "wasm" else ("portable",)
    release = json.loads((args.runtime.parent / "package.json").read_text(encoding="utf-8"))["version"]
    browser = subprocess.run([chromium, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    print(f"{processor()}, {platform.system()}, Chromium {browser}, onnxruntime-web {release}, {args.provider}")
    run = partial(results_of, chromium=chromium, runtime=args.runtime.resolve(), provider=args.provider)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(Path(folder))
        every_kind(plan, targets)
        print("\n| model | rows differ by, of the largest |\n|---|---|")
        for result in run(plan, rounds=0):
            wrong += is_wrong(result)
            print(f"| {result['name']} | {result.get('error') or format(result['difference'], '.1e')} |", flush=True)
        if args.rows:
            plan.entries.clear()
            for d in (50, 300):
                to_be_timed(plan, args.rows, d, targets)
            print("\n| columns | model | target | 32 ids | times a Gather | 8,192 ids | times a Gather |")
            print("|---|---|---|---|---|---|---|")
            for result in run(plan, rounds=args.rounds):
                wrong += is_wrong(result)
                times = result.get("error") or " | ".join(f"{took:.3f} ms | {r:.1f}" for took, r in result["times"])
                print(f"| {result['name']} | {times} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
