"""An OpenAI-compatible endpoint for tests, of which `make up MODEL=https://...` asks the list of models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Endpoint:
    """What the endpoint has and does; tests change it while it runs."""

    url: str = ""
    """The base URL with the version."""
    key: str = ""
    """If set, the only one that may read."""
    models: list[str] = field(default_factory=lambda: ["acme/Large_1"])
    body: bytes | None = None
    """What is sent instead of the list."""
    status: int = 200
    received: list[str | None] = field(default_factory=list)
    """The `Authorization` of each request."""


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """Runs an endpoint on this host."""
    made = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            sent = self.headers["Authorization"]
            made.received.append(sent)
            status, body = made.status, made.body
            if made.key and sent != f"Bearer {made.key}":
                status, body = 401, b"{}"
            elif self.path != "/v1/models":
                status, body = 404, b"{}"
            if body is None:
                models = [{"id": name, "object": "model"} for name in made.models]
                body = json.dumps({"object": "list", "data": models}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
