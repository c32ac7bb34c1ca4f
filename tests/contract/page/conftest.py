"""One gateway and one browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.config import Assistant, Catalog, FactsMemory, HttpTool, React, RemoteModel
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.page.sources import UI
from tests.contract.page.world import DOCUMENT, STARTERS, Engine, Retrieval, World
from tests.contract.running import Loop, engine, gateway
from tests.npm import node
from tests.servers.browser import Chromium, unpacked


@pytest.fixture(scope="session")
def axe() -> str:
    return (node.packages(UI) / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    unpacked()
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        scripted.url = f"http://127.0.0.1:{port}"
        url = f"http://127.0.0.1:{port}/v1"
        models = (RemoteModel(name="small", url=url), RemoteModel(name="tiny", url=url, grounded=False))
        docs = Assistant(name="docs", model="small", knowledge=("sea",), description="Knows the <sea>.")
        tickets = HttpTool(
            name="tickets",
            description="Opens tickets.",
            allow=(f"http://127.0.0.1:{port}/tickets",),
            private=True,
            methods=("POST",),
            approval="always",
        )
        clerk = Assistant(name="clerk", model="small", strategy=React(), tools=("tickets",))
        keeper = Assistant(name="keeper", model="small", memory=FactsMemory(), starters=STARTERS)
        catalog = Catalog(models=models, assistants=(docs, clerk, keeper), tools=(tickets,))
        retrieval = Retrieval()
        with gateway(loop, tmp_path_factory.mktemp("page"), catalog, retrieval=retrieval) as up:
            key = loop.do(key_of(up.services, Principal("acme", "mara", "")))
            browser = Chromium()
            made = World(up, scripted, browser, key)
            upload = {"file": ("sea.txt", DOCUMENT.encode())}
            answer = made.http.post("/v1/files", files=upload, data={"purpose": "assistants"})
            retrieval.file = answer.json()["id"]
            yield made
            made.http.close()
            browser.close()
