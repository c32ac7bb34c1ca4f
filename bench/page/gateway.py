"""A gateway with its page and a browser, as the contract tests of the page start them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from aiohttp import web

from bench.processes import BenchError
from serving.config import Assistant, Catalog, RemoteModel
from tests.contract.running import Gateway, Loop, engine, gateway
from tests.servers.browser import Chromium, Page

MODEL, ASSISTANT = "small", "chat"


@dataclass(frozen=True, slots=True)
class PageGateway:
    """A gateway on SQLite with an assistant, and the session of a person who has every right."""

    up: Gateway
    folder: Path
    cookies: httpx.Cookies

    @property
    def url(self) -> str:
        return self.up.url

    def sign_in(self, page: Page) -> None:
        """Gives a page the session's cookies."""
        for name, value in self.cookies.items():
            page.ask("Network.setCookie", name=name, value=value, url=self.url, httpOnly=True)


@contextlib.contextmanager
def running_gateway(upstream: web.Application | None = None) -> Iterator[PageGateway]:
    """Runs a gateway in a thread during the block; its model is `upstream`, and answers nothing without it."""
    with (
        tempfile.TemporaryDirectory() as name,
        Loop() as loop,
        engine(loop, upstream or web.Application()) as port,
    ):
        folder = Path(name)
        model = RemoteModel(name=MODEL, url=f"http://127.0.0.1:{port}/v1")
        catalog = Catalog(models=(model,), assistants=(Assistant(name=ASSISTANT, model=MODEL, capture="none"),))
        with gateway(loop, folder, catalog) as up:
            yield PageGateway(up, folder, _sign_in(up))


def _sign_in(up: Gateway) -> httpx.Cookies:
    answer = httpx.post(
        f"{up.url}/auth/key", json={"key": up.key}, headers={"origin": up.url}, timeout=60, trust_env=False
    )
    if answer.status_code != 200:
        raise BenchError(f"the gateway did not let its own key sign in: {answer.text}")
    return answer.cookies


@contextlib.contextmanager
def running_browser() -> Iterator[Chromium]:
    """Runs Chromium during the block."""
    browser = Chromium()
    try:
        yield browser
    finally:
        browser.close()
