"""`python -m monitoring.status` over a Prometheus, and what a browser finds wrong in its pages."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from monitoring.dashboards import DASHBOARDS
from tests.servers.browser import Page
from tests.servers.process import Server
from tests.wait import eventually

PAGES = ("/status", *(f"/status/{dashboard.name}" for dashboard in DASHBOARDS))
COMMAND = (sys.executable, "-m", "monitoring.status")
LOADED = (
    "document.querySelectorAll('section.panel').length > 0"
    " && !document.querySelector('section.panel[data-state=loading]')"
    " && ['firing', 'silent'].includes(document.querySelector('#firing').dataset.state)"
)
STATES = (
    "Object.fromEntries([...document.querySelectorAll('section.panel')].map((p) => [p.dataset.panel, p.dataset.state]))"
)
MESSAGES = (
    "[...document.querySelectorAll('section.panel')].map((p) => p.querySelector('.message').textContent).join('; ')"
)
# Axes and grids are grey: a pixel of a series has a colour.
PALE = """[...document.querySelectorAll("section.panel:not([data-kind=table])")].filter((panel) => {
  const canvas = panel.querySelector("canvas");
  if (!canvas) return true;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let inked = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b, a] = data.subarray(i, i + 4);
    if (a > 50 && Math.max(r, g, b) - Math.min(r, g, b) > 60) inked += 1;
  }
  return inked < 40;
}).map((panel) => panel.dataset.panel)"""
WORDLESS = """[...document.querySelectorAll("section.panel")].filter((panel) =>
  !panel.querySelector(".stat .number, .legend .value, tbody tr")
  || [...panel.querySelectorAll(".stat .number")].some((number) => !/\\d/.test(number.textContent)),
).map((panel) => panel.dataset.panel)"""


class Status(Server):
    """The page's own process, on a free port of loopback."""

    def __init__(self, prometheus: str, command: Sequence[str] = COMMAND) -> None:
        super().__init__()
        self.port = self._port()
        self.url = f"http://127.0.0.1:{self.port}"
        with self._closed_on_failure(), httpx.Client(trust_env=False) as client:
            self._start([*command, "--prometheus", prometheus, "--port", str(self.port)])
            self._ready([self.port])
            eventually(lambda: client.get(f"{self.url}/status/healthz").status_code == 200, "the page is up")


def visit(page: Page, url: str) -> None:
    """Opens one of the pages, and waits until every panel has something to show or to say."""
    page.open(url)
    page.until(LOADED, lambda: page.evaluate(STATES))


def faults(page: Page) -> list[str]:
    """What is wrong with the page that is shown, one line each."""
    states = page.evaluate(STATES)
    found = [f"{title}: {state}" for title, state in states.items() if state != "ready"]
    drawn = [title for title, state in states.items() if state == "ready"]
    found += [f"{title}: nothing is drawn" for title in page.evaluate(PALE) if title in drawn]
    found += [f"{title}: no value is written" for title in page.evaluate(WORDLESS) if title in drawn]
    page.settle()
    here = urlsplit(page.evaluate("location.href")).netloc
    found += [f"asked another host: {url}" for url in page.requests if urlsplit(url).netloc != here]
    return found + page.complaints


def focused(page: Page, selector: str) -> bool:
    return bool(page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"))
