"""What a page's requests carried, from the events of the DevTools protocol."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.processes import BenchError
from tests.servers.browser import Page

CODE = ("Script", "Stylesheet")
QUIET_S = 1.0
"""Seconds without a request after which a page has loaded everything."""


@dataclass(slots=True)
class Request:
    """One request. `sent` is the size of its answer's body as it was sent, `wire` with headers, both in bytes."""

    url: str
    type: str
    status: int = 0
    encoding: str = ""
    sent: int = 0
    wire: int = 0
    server_ms: float = 0.0
    """From the request's end to the first byte of its answer."""
    ended: bool = False


@dataclass(slots=True)
class Traffic:
    """The requests of a page, except those for `data:` URLs."""

    requests: dict[str, Request] = field(default_factory=dict)

    def add(self, events: Iterable[dict[str, Any]]) -> int:
        """Adds what events tell, and returns how many were about requests."""
        count = 0
        for event in events:
            method, given = event["method"].removeprefix("Network."), event["params"]
            if method == "requestWillBeSent":
                url = given["request"]["url"]
                if url.startswith("data:"):
                    continue
                id = given["requestId"]
                if "redirectResponse" in given:
                    self.requests[f"{id} to {url}"] = self.requests.pop(id)
                self.requests[id] = Request(url, given.get("type", ""))
                count += 1
            elif (request := self.requests.get(given.get("requestId", ""))) is not None:
                _note(request, method, given)
                count += 1
        return count

    def hosts(self) -> set[str]:
        """Returns the hosts with ports that were asked."""
        return {urlsplit(request.url).netloc for request in self.requests.values()}

    def code_bytes(self) -> int:
        """Returns the bytes of scripts and style sheets as they were sent, without headers."""
        return sum(request.sent for request in self.requests.values() if request.type in CODE)

    def wire_bytes(self) -> int:
        """Returns the bytes of all answers with their headers."""
        return sum(request.wire for request in self.requests.values())


def _note(request: Request, method: str, given: dict[str, Any]) -> None:
    if method == "responseReceived":
        response = given["response"]
        headers = {name.lower(): value for name, value in response["headers"].items()}
        request.type, request.status = given["type"], response["status"]
        request.encoding = headers.get("content-encoding", "")
        timing = response.get("timing")
        if timing:
            request.server_ms = timing["receiveHeadersStart"] - timing["sendEnd"]
    elif method == "dataReceived":
        request.sent += given["encodedDataLength"]
    elif method == "loadingFinished":
        request.wire = given["encodedDataLength"]
        request.ended = True
    elif method == "loadingFailed":
        request.ended = True


def until_quiet(page: Page, traffic: Traffic, timeout_s: float = 60) -> None:
    """Adds to `traffic` until all requests have ended and no other began for a moment. Raises `BenchError`."""
    deadline, quiet = time.monotonic() + timeout_s, time.monotonic()
    while time.monotonic() - quiet < QUIET_S:
        time.sleep(0.05)
        if traffic.add(page.events()) or not all(request.ended for request in traffic.requests.values()):
            quiet = time.monotonic()
        if time.monotonic() > deadline:
            raise BenchError(f"the page still loads after {timeout_s:.0f} s")
