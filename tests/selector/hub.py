"""A stand-in for the Hugging Face Hub: one repository of models in memory, as far as `huggingface_hub` asks for it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "1" * 40


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        files: path -> content, of the last commit.
        created: what was said of the repository when it was made.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.created: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self._json({"url": f"{self.server.address}/owner/name"})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
            self._json({"files": files})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._json({"commitUrl": f"{self.server.address}/owner/name/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self.send_error(404)

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/owner/name/tree/"):
            self._json([self._entry(name) for name in self.server.files])
        elif self.path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in self.server.files]
            self._json({"id": "owner/name", "modelId": "owner/name", "sha": COMMIT, "siblings": siblings})
        elif self.path.startswith("/api/models/"):
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        else:
            self._file()

    def do_HEAD(self) -> None:
        self._file()

    def _entry(self, name: str) -> dict[str, Any]:
        content = self.server.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _file(self) -> None:
        content = self.server.files.get(self.path.partition("/resolve/")[2].partition("/")[2])
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._send(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub() -> Iterator[Hub]:
    """A server that runs meanwhile."""
    with Hub() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
