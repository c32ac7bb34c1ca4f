"""That each use is counted once, whoever hangs up how, and that all choices of an answer are paid for."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from aiohttp import web

from serving.api.app import Api
from serving.config import Catalog, RemoteModel
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

CHAT = "/v1/chat/completions"


class Engine:
    """`hangs` says a word and no more; the others answer as the model that they are named after does with several choices."""

    def __init__(self):
        self.asked = asyncio.Event()

    async def answer(self, request):
        document = await request.json()
        self.asked.set()
        if document["model"] == "hangs":
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n')
            await asyncio.Event().wait()
        raise AssertionError(document)


class World:
    def __init__(self, up, scripted, http):
        self.up, self.engine, self.http = up, scripted, http

    def requests(self):
        return sum(day["requests"] for day in self.http.get("/usage").json()["data"])

    async def hang_up(self):
        """Asks for a stream, and hangs up as a proxy of Serve's does: it says so, and cancels the request too."""
        api, gone, body = Api(self.up.services), asyncio.Event(), json.dumps(ASKED).encode()
        headers = [(b"authorization", f"Bearer {self.up.key}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b""}
        scope |= {"http_version": "1.1", "scheme": "http", "root_path": "", "client": None, "server": None}
        first, received = asyncio.Event(), []

        async def receive():
            if not received:
                received.append(body)
                return {"type": "http.request", "body": body}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message.get("body"):
                first.set()

        request = asyncio.create_task(api(scope, receive, send))
        await first.wait()
        gone.set()
        while not request.done():  # at each of its steps
            await asyncio.sleep(0)
            request.cancel()
        await asyncio.gather(request, return_exceptions=True)


ASKED = {"model": "hangs", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    loop, scripted = Loop(), Engine()
    app = web.Application()
    app.router.add_post(CHAT, scripted.answer)
    with engine(loop, app, cancels=True) as port:
        catalog = Catalog(models=(RemoteModel(name="hangs", url=f"http://127.0.0.1:{port}/v1"),))
        with gateway(loop, tmp_path_factory.mktemp("metering"), catalog) as up:
            headers = {"Authorization": f"Bearer {up.key}"}
            with httpx.Client(base_url=f"{up.url}/v1", headers=headers, trust_env=False, timeout=60) as http:
                yield World(up, scripted, http)
    loop.stop()


def test_who_hangs_up_is_counted_once(world):
    before = world.requests()
    for _ in range(3):
        world.up.loop.do(world.hang_up())
    eventually(lambda: world.requests() >= before + 3, "the requests are counted")
    world.up.loop.do(world.up.services.keeper.tell())
    assert world.requests() == before + 3
