"""Views over large tables: the requests of each view of the console and of the chat, and the server's time for them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench import machine, results
from bench.page.filled_store import KINDS, fill
from bench.page.gateway import PageGateway, running_browser, running_gateway
from bench.page.traffic import Request, Traffic, until_quiet
from bench.processes import BenchError
from bench.results import Goal
from tests.servers.browser import Chromium

ROWS = 100_000
REQUESTS, SERVER_MS = 3, 300
CHAT = "/"
SEARCHES = ("/admin/users?q=user-0999", "/admin/keys?q=laptop%20999", "/admin/audit?action=none")
"""Filters that match few rows or none, so that many are read."""
LINKS = "[...document.querySelectorAll('nav li a')].map((one) => one.pathname)"
SETTLED = "document.querySelector('main [role=status], main [aria-busy=true]') === null"


def view_paths(browser: Chromium, gateway: PageGateway) -> list[str]:
    """Returns the paths of all views that the console offers to somebody with every right."""
    with browser.page() as page:
        gateway.sign_in(page)
        page.open(f"{gateway.url}/admin")
        page.until("document.querySelector('nav li a') !== null")
        paths: list[str] = page.evaluate(LINKS)
    return paths


@dataclass(frozen=True, slots=True)
class OpenedView:
    """A view's requests to the API, and the milliseconds of processor time that this process, which is the gateway
    with its database and what drives the browser, took until all was answered."""

    requests: Sequence[Request]
    processor_ms: float

    @property
    def slowest(self) -> Request:
        return max(self.requests, key=lambda request: request.server_ms)


def open_view(browser: Chromium, gateway: PageGateway, path: str) -> OpenedView:
    """Opens a path of the page. Raises `BenchError` if it asks the API for nothing."""
    traffic = Traffic()
    with browser.page() as page:
        gateway.sign_in(page)
        page.events()
        began = time.process_time()
        page.open(gateway.url + path)
        page.until("document.querySelector('main') !== null")
        page.until(SETTLED)
        until_quiet(page, traffic)
        spent = 1000 * (time.process_time() - began)
    asked = [request for request in traffic.requests.values() if urlsplit(request.url).path.startswith("/v1/")]
    if not asked:
        raise BenchError(f"{path} asks the API for nothing")
    return OpenedView(asked, spent)


def _row(path: str, rounds: Sequence[OpenedView]) -> dict[str, Any]:
    times = [each.slowest.server_ms for each in rounds]
    return {
        "view": path,
        "requests": max(len(each.requests) for each in rounds),
        "failed": sum(request.status != 200 for each in rounds for request in each.requests),
        "slowest request": urlsplit(rounds[0].slowest.url).path,
        "its server ms": round(statistics.median(times), 1),
        "in the fastest round": round(min(times), 1),
        "processor ms": round(statistics.median(each.processor_ms for each in rounds)),
    }


def measure(rounds: int, count: int = ROWS) -> None:
    """Measures each view several times, and writes the medians."""
    facts = machine.facts()
    with running_gateway() as gateway, running_browser() as browser:
        facts["versions"]["chromium"] = browser.ask("Browser.getVersion")["product"].partition("/")[2]
        began = time.monotonic()
        fill(gateway, count)
        print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
        rows = measure_views(browser, gateway, rounds)
    settings = {
        "Tables": f"{count:,} rows each of {', '.join(KINDS)}, in SQLite",
        "Rounds": f"{rounds}, each in an empty cache",
    }
    results.write("page-views", rows, goals(rows), facts, settings=settings)


def measure_views(browser: Chromium, gateway: PageGateway, rounds: int) -> list[dict[str, Any]]:
    """Returns a row for the chat, for each view of the console, and for some with filters."""
    paths = [CHAT, *view_paths(browser, gateway), *SEARCHES]
    seen = [[open_view(browser, gateway, path) for path in paths] for _ in range(rounds)]
    return [_row(path, [each[number] for each in seen]) for number, path in enumerate(paths)]


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Returns the goals with the worst figure of all views."""
    asks = max(row["requests"] for row in rows)
    slowest = max(rows, key=lambda row: row["its server ms"])
    failed = sum(row["failed"] for row in rows)
    return [
        Goal(f"each view asks the API at most {REQUESTS} times", asks, asks <= REQUESTS),
        Goal(
            f"each request at most {SERVER_MS} ms on the server (the slowest is of {slowest['view']})",
            slowest["its server ms"],
            slowest["its server ms"] <= SERVER_MS,
        ),
        Goal("failed requests: 0", failed, failed == 0),
    ]
