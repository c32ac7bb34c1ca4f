"""What the log says of the time in which a model generates: of a whole answer, nobody knows when it began."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time

import pytest
from aiohttp import web

from serving.config import Catalog, RemoteModel
from tests.contract.running import Loop, engine, gateway, request_lines
from tests.wait import eventually

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
ROUNDED_S = 1e-5


class World:
    """An engine that answers when it may, and says how long that took it."""

    def __init__(self):
        self.asked, self.may, self.generated_s = threading.Event(), asyncio.Event(), 0.0

    async def generate(self, request):
        asked, begun = await request.json(), time.perf_counter()
        self.asked.set()
        await self.may.wait()
        said = {"message": {"role": "assistant", "content": "yes"}} if "messages" in asked else {"text": "yes"}
        choices = [{"index": i, "finish_reason": "stop", **said} for i in range(asked.get("n") or 1)]
        self.generated_s = time.perf_counter() - begun
        if not asked.get("stream"):
            return web.json_response({"id": "1", "created": 1, "choices": choices})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(f"data: {json.dumps({'id': '1', 'choices': choices})}\n\ndata: [DONE]\n\n".encode())
        return response


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    loop = Loop()
    world, app = World(), web.Application()
    app.router.add_post(CHAT, world.generate)
    app.router.add_post(COMPLETIONS, world.generate)
    with engine(loop, app) as port:
        catalog = Catalog(models=(RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1"),))
        with gateway(loop, tmp_path_factory.mktemp("generation"), catalog) as up, up.client() as http:
            world.http, world.loop = http, loop.loop  # ty: ignore[missing-attribute]
            yield world
    loop.stop()


@pytest.mark.parametrize(
    ("path", "body", "stage"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "well?"}]}, "decode"),
        (CHAT, {"messages": [{"role": "user", "content": "well?"}], "n": 2}, "decode"),
        (COMPLETIONS, {"prompt": "well?"}, "decode"),
        (RESPONSES, {"input": "well?"}, "decode"),
        (COMPLETIONS, {"prompt": "well?", "stream": True}, "first_token"),
    ],
    ids=["chat", "two choices", "completion", "response", "stream"],
)
def test_a_whole_answer_is_generated_and_only_a_stream_has_a_first_token(world, caplog, path, body, stage):
    world.loop.call_soon_threadsafe(world.may.clear)
    world.asked.clear()
    with caplog.at_level(logging.INFO, "headrace.requests"):
        asking = threading.Thread(target=world.http.post, args=(path,), kwargs={"json": {"model": "m", **body}})
        asking.start()
        assert world.asked.wait(60)
        for _ in range(3):  # the engine takes at least as long as these
            assert world.http.get("/v1/models").is_success
        world.loop.call_soon_threadsafe(world.may.set)
        asking.join(60)
        [line] = eventually(lambda: [r.fields for r in request_lines(caplog) if r.fields["route"] == path], "the line")
    assert (line["outcome"], line["stream"]) == ("ok", "stream" in body)
    assert {"first_token", "decode"} & line["stages"].keys() == {stage}
    assert line["stages"][stage] >= world.generated_s - ROUNDED_S
