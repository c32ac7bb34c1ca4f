"""A Hugging Face Hub for tests: one repository, and of its API (https://huggingface.co/docs/hub/api) what is read."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mmap import mmap
from urllib.parse import unquote

REPOSITORY = "acme/llama"
PIECE = 8192

Content = bytes | mmap
"""A file; a large one is not read into memory."""


class Hub:
    """What the server has and does; tests change it while it runs."""

    def __init__(self, files: Mapping[str, Content], repository: str = REPOSITORY) -> None:
        self.files = dict(files)
        self.repository = repository
        self.damaged: dict[str, Content] = {}
        """What is sent instead of a file."""
        self.url = ""
        self.token = ""
        """If set, the only one that may read."""
        self.refusal: tuple[int, str] | None = None
        """Status and error code of every answer."""
        self.cut_after = 0
        """Bytes of an answer after which its connection ends; 0: all are sent."""
        self.ranges = True
        self.permits: threading.Semaphore | None = None
        """What each piece of a file takes one of; None: pieces are sent at once."""
        self.stuck = threading.Event()
        """Set when a piece finds no permit."""
        self.served = 0

    @property
    def commit(self) -> str:
        return hashlib.sha1(
            repr(sorted((name, _sha256(each)) for name, each in self.files.items())).encode()
        ).hexdigest()

    def document(self) -> bytes:
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": _blob(content)}
            | ({"lfs": {"size": len(content), "sha256": _sha256(content)}} if _large(name) else {})
            for name, content in self.files.items()
        ]
        return json.dumps({"id": self.repository, "sha": self.commit, "siblings": siblings}).encode()


def _large(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf"))


@lru_cache  # the whole file is read for it, and each request of a file asks for its commit
def _sha256(content: Content) -> str:
    return hashlib.sha256(content).hexdigest()


@lru_cache
def _blob(content: Content) -> str:
    digest = hashlib.sha1(b"blob %d\0" % len(content))
    digest.update(content)
    return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(self.path.partition("?")[0])
        if hub.refusal:
            self._answer(hub.refusal[0], b"", {"X-Error-Code": hub.refusal[1]})
        elif hub.token and self.headers["Authorization"] != f"Bearer {hub.token}":
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith(f"/api/models/{hub.repository}/revision/"):
            self._answer(200, hub.document())
        elif path.startswith(f"/{hub.repository}/resolve/{hub.commit}/"):
            name = path.split("/", 5)[5]
            self._content(hub.damaged.get(name, hub.files[name]))
        else:
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})

    def _content(self, content: Content) -> None:
        asked = self.headers["Range"]
        if asked and self.hub.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            where = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._answer(206, memoryview(content)[start:], where)
        else:
            self._answer(200, content)

    def _answer(self, status: int, body: Content | memoryview, headers: Mapping[str, str] = {}) -> None:
        hub = self.hub
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        for at in range(0, len(body), PIECE):
            permits = hub.permits if "/resolve/" in self.path else None
            if permits is not None and not permits.acquire(blocking=False):
                hub.stuck.set()
                permits.acquire()
                if hub.permits is not permits:  # the test has gone on
                    self.close_connection = True
                    return
            if hub.cut_after and at >= hub.cut_after:
                self.close_connection = True
                return
            self.wfile.write(body[at : at + PIECE])
            hub.served += len(body[at : at + PIECE])


@contextmanager
def hub_with(files: Mapping[str, Content], repository: str = REPOSITORY) -> Iterator[Hub]:
    """Runs a Hub whose repository has these files."""
    hub = Hub(files, repository)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers of tests are killed
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
