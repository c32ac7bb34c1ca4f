"""Dashboards in the console of a gateway over a Prometheus, and what a browser finds wrong in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from monitoring.dashboards import DASHBOARDS
from serving.config import Catalog, PrometheusServer
from tests.contract.page.console.operated import Operated, settled
from tests.contract.page.world import Shown
from tests.contract.running import Loop, gateway
from tests.servers.browser import Chromium

NAMES = tuple(dashboard.name for dashboard in DASHBOARDS)
TITLES = "[...document.querySelectorAll('.metric h3')].map((one) => one.textContent)"
# A panel has numbers, rows of a table, a heatmap with a cell, or a chart with a line of more than one point.
UNDRAWN = """[...document.querySelectorAll(".metric")].filter((panel) => {
  if (panel.querySelector(".error, .empty")) return false;
  const numbers = [...panel.querySelectorAll(".stat b")];
  if (numbers.length) return !numbers.every((one) => /\\d/.test(one.textContent));
  if (!panel.querySelector(".plot")) return !panel.querySelector("tbody tr");
  if (panel.querySelector(".heat")) return ![...panel.querySelectorAll(".heat")].some((one) => one.getAttribute("d"));
  return ![...panel.querySelectorAll(".line > path:not(.area)")].some((one) => /^M.*L/.test(one.getAttribute("d")));
}).map((panel) => panel.querySelector("h3").textContent)"""
SAID = """[...document.querySelectorAll(".metric")].flatMap((panel) => {
  const said = panel.querySelector(".error, .empty");
  return said ? [`${panel.querySelector("h3").textContent}: ${said.textContent}`] : [];
})"""


@contextmanager
def console(prometheus: str, browser: Chromium) -> Iterator[Operated]:
    """A gateway, and the browser in which its operator looks at the console."""
    server = PrometheusServer(url=prometheus)
    with (
        TemporaryDirectory() as folder,
        Loop() as loop,
        gateway(loop, Path(folder), Catalog(), prometheus=server) as up,
    ):
        operated = Operated(up, browser, Path(folder))
        yield operated
        operated.http.close()


@contextmanager
def dashboard(operated: Operated, name: str, more: str = "") -> Iterator[Shown]:
    """A dashboard, once it has all that it asked for."""
    with operated.page(f"/admin/dashboards?dashboard={name}&refresh=0{more}") as shown:
        shown.there(".metric")
        settled(shown)
        yield shown


def faults(shown: Shown) -> list[str]:
    """What is wrong with the dashboard that is shown, one line each."""
    found: list[str] = shown.page.evaluate(SAID)
    found += [f"{title}: nothing is drawn" for title in shown.page.evaluate(UNDRAWN)]
    shown.page.settle()
    return found + shown.page.complaints
