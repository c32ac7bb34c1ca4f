"""The first load: what it sends, and how soon the message box can be used on a slow network and processor.

Beside the chat of Headrace, llama.cpp's own web page from the locked wheel is loaded in the same rounds.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, results
from bench.page.gateway import PageGateway, running_browser, running_gateway
from bench.page.traffic import Traffic, until_quiet
from bench.processes import BenchError, running_process
from bench.results import Goal
from tests.servers.browser import Chromium, Page
from tests.servers.process import free_port
from tools.environment import CHECKOUT

SLOW_3G = {"latency": 2000, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
"""Preset "Slow 3G" of Chrome's DevTools (`Slow3GConditions` in NetworkManager.ts, now named "3G"): milliseconds until
an answer begins, five times a round trip of 400 ms, and bytes per second, 0.8 times 500 kbit/s."""
CPU_SLOWDOWN = 4
KB = 1000
HEADRACE, LLAMACPP = "Headrace", "llama.cpp's page"
CHAT_KB, CONSOLE_KB, REQUESTS = 80, 60, 6
BOX_S, PAINT_S, RATIO = 8, 6, 8
TIMEOUT_S = 240
TYPED = "How deep is the sea?"
SCRIPT = """(() => {
  const seen = (window.headraceBench = {});
  const look = () => {
    const box = document.querySelector("textarea");
    if (box && !box.disabled && box.getClientRects().length) seen.box ??= performance.now();
    if (seen.box && (%s)) seen.ready ??= performance.now();
    if (seen.ready === undefined) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


@dataclass(frozen=True, slots=True)
class Site:
    """A page to load. `ready` is JavaScript that is true once a question can be sent."""

    name: str
    url: str
    ready: str = "true"
    gateway: PageGateway | None = None

    @contextlib.contextmanager
    def fresh_page(self, browser: Chromium) -> Iterator[Page]:
        """Yields an empty page without a cache, signed in where that is needed."""
        with browser.page() as page:
            if self.gateway is not None:
                self.gateway.sign_in(page)
            yield page


@dataclass(frozen=True, slots=True)
class LoadTimes:
    """Seconds from the start of the navigation to the first contentful paint, to a message box that takes text, and
    to a model that the question goes to."""

    paint: float
    box: float
    ready: float


def chat(gateway: PageGateway) -> Site:
    """Returns the chat of a gateway."""
    chosen = "document.querySelector('.chooser select')?.value"
    return Site(HEADRACE, f"{gateway.url}/", chosen, gateway)


def count(browser: Chromium, site: Site) -> Traffic:
    """Loads a page on a fast network, compressed by gzip as everybody's can be, and returns its requests."""
    traffic = Traffic()
    with site.fresh_page(browser) as page:
        page.ask("Network.setAcceptedEncodings", encodings=["gzip"])
        page.events()
        page.open(site.url)
        until_quiet(page, traffic)
    return traffic


def load_slowly(browser: Chromium, site: Site, network: dict[str, int] = SLOW_3G) -> tuple[LoadTimes, Traffic]:
    """Loads a page on a slow network and processor, and checks that its message box takes text."""
    traffic = Traffic()
    with site.fresh_page(browser) as page:
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=SCRIPT % site.ready)
        page.ask("Network.emulateNetworkConditions", offline=False, **network)
        page.ask("Emulation.setCPUThrottlingRate", rate=CPU_SLOWDOWN)
        page.events()
        page.ask("Page.navigate", url=site.url)
        deadline, seen = time.monotonic() + TIMEOUT_S, {}
        while "ready" not in seen:
            if time.monotonic() > deadline:
                raise BenchError(f"{site.name}: the message box cannot be used after {TIMEOUT_S} s")
            time.sleep(0.5)
            traffic.add(page.events())
            seen = json.loads(page.evaluate("JSON.stringify(window.headraceBench ?? {})"))
        paint = page.evaluate(PAINT)
        page.evaluate("document.querySelector('textarea').focus()")
        page.ask("Input.insertText", text=TYPED)
        if page.evaluate("document.querySelector('textarea').value") != TYPED:
            raise BenchError(f"{site.name}: the message box does not take text")
        traffic.add(page.events())
    return LoadTimes(paint / 1000, seen["box"] / 1000, seen["ready"] / 1000), traffic


@contextlib.contextmanager
def llamacpp_page() -> Iterator[Site]:
    """Runs llama.cpp with its own page during the block."""
    port = free_port()
    argv = [sys.executable, "-m", "bench.page.llamacpp_ui", "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "llamacpp.log"
        with running_process(argv, log=log, ready=f"http://127.0.0.1:{port}/health", env=env):
            yield Site(LLAMACPP, f"http://127.0.0.1:{port}/")


def _row(site: Site, counted: Traffic, times: Sequence[LoadTimes], sent: Sequence[Traffic]) -> dict[str, Any]:
    def median(name: str) -> float | str:
        return round(statistics.median(getattr(each, name) for each in times), 1) if times else ""

    return {
        "page": site.name,
        "JS and CSS, KB gz": round(counted.code_bytes() / KB, 1),
        "requests": len(counted.requests),
        "outside hosts": len(counted.hosts()) - 1,
        "all, KB as sent": round(statistics.median(each.wire_bytes() for each in sent) / KB, 1) if sent else "",
        "first paint s": median("paint"),
        "message box s": median("box"),
        "model chosen s": median("ready"),
    }


def measure(rounds: int) -> None:
    """Measures rounds in which both pages take turns, and writes the results."""
    facts = machine.facts()
    with running_gateway() as gateway, llamacpp_page() as other, running_browser() as browser:
        facts["versions"]["chromium"] = browser.ask("Browser.getVersion")["product"].partition("/")[2]
        ours = chat(gateway)
        console = Site("Headrace's console", f"{gateway.url}/admin", gateway=gateway)
        counted = {site.name: count(browser, site) for site in (ours, console, other)}
        times: dict[str, list[LoadTimes]] = {ours.name: [], other.name: [], console.name: []}
        sent: dict[str, list[Traffic]] = {name: [] for name in times}
        for number in range(rounds):
            for site in (ours, other) if number % 2 else (other, ours):
                seen, traffic = load_slowly(browser, site)
                times[site.name].append(seen)
                sent[site.name].append(traffic)
                print(f"round {number + 1}: {site.name}: {seen}", file=sys.stderr)
    rows = [_row(site, counted[site.name], times[site.name], sent[site.name]) for site in (ours, console, other)]
    ratios = [theirs.ready / mine.ready for mine, theirs in zip(times[ours.name], times[other.name], strict=True)]
    singles = [
        {"page": name, "round": number, "paint": each.paint, "box": each.box, "ready": each.ready}
        for name, all_times in times.items()
        for number, each in enumerate(all_times, 1)
    ]
    settings = {
        "Network": "the preset Slow 3G of Chrome's DevTools (2,000 ms until an answer begins, 50,000 bytes/s)",
        "Processor": f"slowed {CPU_SLOWDOWN} times by the browser",
        "Rounds": rounds,
    }
    results.write("page-load", rows, goals(rows[0], rows[1], ratios), facts, settings=settings, rounds=singles)


def goals(chat_row: dict[str, Any], console_row: dict[str, Any], ratios: Sequence[float]) -> list[Goal]:
    """Returns the goals of the first load with the figures of the rows."""
    ratio = statistics.median(ratios)
    code, console = chat_row["JS and CSS, KB gz"], console_row["JS and CSS, KB gz"]
    outside = chat_row["outside hosts"] + console_row["outside hosts"]
    usable, paint = chat_row["model chosen s"], chat_row["first paint s"]
    spread = f"rounds from {min(ratios):.1f} to {max(ratios):.1f}"
    return [
        Goal(f"first load of the chat at most {CHAT_KB} KB gz of JS and CSS", code, code <= CHAT_KB),
        Goal(f"in at most {REQUESTS} requests", chat_row["requests"], chat_row["requests"] <= REQUESTS),
        Goal(f"the console at most {CONSOLE_KB} KB gz", console, console <= CONSOLE_KB),
        Goal("no host but its own", outside, outside == 0),
        Goal(f"slow: a question can be sent after at most {BOX_S} s", usable, usable <= BOX_S),
        Goal(f"slow: first paint after at most {PAINT_S} s", paint, paint <= PAINT_S),
        Goal(f"slow: at least {RATIO} times sooner than llama.cpp's page ({spread})", round(ratio, 1), ratio >= RATIO),
    ]
