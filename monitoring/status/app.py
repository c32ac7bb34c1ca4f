"""The HTTP application of the page."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from monitoring.dashboards.panel import Dashboard
from monitoring.status import assets, page
from monitoring.status.answer import firing_alerts, label_choices, panel_answer
from monitoring.status.headers import SecureHeaders
from monitoring.status.problem import Problem
from monitoring.status.prometheus import Prometheus
from monitoring.status.selection import Selection, check
from monitoring.status.window import DEFAULT, WINDOWS, Window

HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")
"""Accepted Host headers, which exclude other sites' names that resolve to loopback (DNS rebinding)."""
_VARIABLE = "var-"


class Pages:
    """The routes, over one Prometheus."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._files = assets.files()

    async def home(self, request: Request) -> Response:
        return RedirectResponse("/status")

    async def main(self, request: Request) -> Response:
        return HTMLResponse(page.main())

    async def dashboard(self, request: Request) -> Response:
        name = request.path_params["name"]
        return HTMLResponse(page.dashboard(_dashboard(name).name))

    async def alert(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in page.ALERTS:
            raise Problem(404, f"Headrace has no alert {name[:80]!r}")
        return HTMLResponse(page.alert(name))

    async def runbook(self, request: Request) -> Response:
        """Leads from the address in an alert's annotation to its runbook."""
        name = request.path_params["name"]
        if name not in page.ALERTS:
            raise Problem(404, f"Headrace has no alert {name[:80]!r}")
        return RedirectResponse(f"/status/alerts/{name}#runbook")

    async def file(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            raise Problem(404, "this file does not exist")
        return FileResponse(file)

    async def firing(self, request: Request) -> Response:
        found = await firing_alerts(self._prometheus)
        return JSONResponse({"alerts": [{**one, "known": one["name"] in page.ALERTS} for one in found]})

    async def choices(self, request: Request) -> Response:
        shown = _dashboard(request.path_params["dashboard"])
        chosen, window = _parse_query(request, shown)
        return JSONResponse({"variables": await label_choices(self._prometheus, shown, chosen, window, _now())})

    async def panel(self, request: Request) -> Response:
        shown, id = _dashboard(request.path_params["dashboard"]), request.path_params["panel"]
        found = page.panels(shown).get(id)
        if found is None:
            raise Problem(404, f"the dashboard {shown.name} has no panel {id[:80]!r}")
        chosen, window = _parse_query(request, shown)
        return JSONResponse(await panel_answer(self._prometheus, shown, found, chosen, window, _now()))

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")


def application(prometheus: Prometheus, hosts: Sequence[str] = HOSTS) -> Starlette:
    """The ASGI application; raises `FileNotFoundError` when the charting library is not installed."""
    pages = Pages(prometheus)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await prometheus.close()

    return Starlette(
        routes=[
            Route("/", pages.home),
            Route("/status", pages.main),
            Route("/status/healthz", pages.healthz),
            Route("/status/static/{name}", pages.file),
            Route("/status/alerts/{name}", pages.alert),
            Route("/status/runbooks/{name}.md", pages.runbook),
            Route("/status/api/alerts", pages.firing),
            Route("/status/api/{dashboard}", pages.choices),
            Route("/status/api/{dashboard}/{panel}", pages.panel),
            Route("/status/{name}", pages.dashboard),
        ],
        middleware=[
            Middleware(SecureHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={Problem: _problem_response, 404: _not_found},
        lifespan=lifespan,
    )


def _now() -> int:
    return int(time.time())


def _dashboard(name: str) -> Dashboard:
    try:
        return page.BY_NAME[name]
    except KeyError:
        raise Problem(404, f"there is no dashboard {name[:80]!r}; there are {', '.join(page.BY_NAME)}") from None


def _parse_query(request: Request, shown: Dashboard) -> tuple[Selection, Window]:
    """Returns the selection and range in a request's query; raises `Problem` for anything else in it."""
    chosen: dict[str, list[str]] = {}
    range = DEFAULT
    for name, value in request.query_params.multi_items():
        if name == "range":
            range = value
        elif name.startswith(_VARIABLE):
            chosen.setdefault(name.removeprefix(_VARIABLE), []).append(value)
        else:
            raise Problem(400, f"unknown parameter {name[:40]!r}; there are range and var-NAME")
    if range not in WINDOWS:
        raise Problem(400, f"there is no range {range[:40]!r}; there are {', '.join(WINDOWS)}")
    check(shown, chosen)
    return chosen, WINDOWS[range]


async def _problem_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _error_response(request, error.status, str(error))


async def _not_found(request: Request, error: Exception) -> Response:
    return _error_response(request, 404, "this page does not exist; start at /status")


def _error_response(request: Request, status: int, message: str) -> Response:
    if request.url.path.startswith("/status/api/"):
        body: dict[str, Any] = {"error": message}
        return JSONResponse(body, status)
    return HTMLResponse(page.problem(message), status)
