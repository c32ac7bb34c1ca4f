"""A cache, a PATH and a vendor of the test's own: no test sees the real ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.programs import Archive, GoModule, Kit, Release
from tests.unit.tools.conftest import cache_root, path_dir, put, script
from tools.binaries import find

__all__ = ["cache_root", "path_dir", "put"]


class Vendor:
    """A release server on 127.0.0.1: an archive of scripts that print version 1.2.3, and ways to misbehave."""

    def __init__(self) -> None:
        self.offer("alpha", "alpha-helper")
        self.requests = 0
        self.status = 200
        self.cut = 0
        self.answering = threading.Event()
        self.answering.set()
        self.url = ""

    def offer(self, *names: str) -> None:
        self.content = pack({f"release-1.2.3/{name}": script("1.2.3") for name in names})

    def kit(self, sha256: str = "", go: GoModule | None = None, url: str = "") -> Kit:
        """A kit whose release is what this vendor offers; `sha256` pins another checksum."""
        archive = Archive(url or self.url, sha256 or hashlib.sha256(self.content).hexdigest())
        return Kit(
            name="alpha",
            binaries=("alpha", "alpha-helper"),
            version_args=("version",),
            at_least=(1, 2, 0),
            below=(2, 0, 0),
            homepage="https://example.org/alpha",
            release=Release("1.2.3", {find._platform(): archive}),
            go=go,
        )


def pack(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    vendor = Vendor()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            vendor.requests += 1
            vendor.answering.wait(30)
            self.send_response(vendor.status)
            self.send_header("content-length", str(len(vendor.content)))
            self.end_headers()
            self.wfile.write(vendor.content[: len(vendor.content) - vendor.cut])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        vendor.url = f"http://127.0.0.1:{server.server_port}/alpha.tar.gz"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield vendor
        vendor.answering.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def go_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GoModule:
    """A module of two commands that need no other module, and not even Go's library."""
    source = tmp_path / "go" / "alpha"
    for name in ("alpha", "alpha-helper"):
        (source / name).mkdir(parents=True)
        (source / name / "main.go").write_text(
            'package main\n\nvar version = "unset"\n\nfunc main() { println("alpha version", version) }\n'
        )
    (source / "go.mod").write_text("module example.org/alpha\n\ngo 1.21\n")
    (source / "go.sum").write_text("")
    monkeypatch.setattr("tools.binaries.gobuild.SOURCES", tmp_path / "go")
    return GoModule(
        version="1.2.9", source="alpha", packages=("./alpha", "./alpha-helper"), ldflags="-X main.version=1.2.9"
    )
