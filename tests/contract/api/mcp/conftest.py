"""A gateway with scripted engines and retrieval, and two tenants."""

from __future__ import annotations

import asyncio
import threading

import pytest
from aiohttp import web

from serving.config import Assistant, Catalog, FactsMemory, Limits, RemoteModel
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.inference.messages.scripted import Engine as Scripted
from tests.contract.inference.responses.scripted import Retrieval
from tests.contract.running import Loop, engine, gateway


class Engine(Scripted):
    """It fails, or holds its answer to `hold on`, until its test says otherwise."""

    def __init__(self):
        super().__init__()
        self.fails, self.left = False, False
        self.holds = threading.Event()
        self.holds.set()

    async def chat(self, request):
        if self.fails:
            return web.json_response({"error": {"message": "no"}}, status=500)
        answer = await super().chat(request)
        try:
            while not self.holds.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.left = True
            raise
        return answer


class World:
    def __init__(self, up, scripted, http):
        self.up, self.engine, self.http = up, scripted, http

    def key(self, user="ann", tenant="acme", **of):
        """Returns a new key of a user, by default with all that users may do."""
        return self.up.loop.do(key_of(self.up.services, Principal(tenant, user, ""), **of))

    def post(self, body, **headers):
        """Sends a message as it is."""
        return self.http.post("/mcp", json=body, headers={name.replace("_", "-"): v for name, v in headers.items()})

    def as_caller(self, key):
        """Returns headers with which somebody else asks."""
        return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app(), cancels=True) as port:
        model = RemoteModel(name="echo", url=f"http://127.0.0.1:{port}/v1")
        assistants = (
            Assistant(name="reads", model="echo", knowledge=("sea",), refusal="I do not know."),
            Assistant(name="friend", model="echo", memory=FactsMemory()),
        )
        catalog = Catalog(models=(model,), assistants=assistants)
        folder = tmp_path_factory.mktemp("gateway")
        limits = Limits(body_bytes=100_000)
        with gateway(loop, folder, catalog, limits=limits, retrieval=Retrieval()) as up, up.client() as http:
            yield World(up, scripted, http)
