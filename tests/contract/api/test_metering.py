"""That each use is counted once, whoever hangs up how, and that all choices of an answer are paid for."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from aiohttp import web

from serving.api import several
from serving.api.app import Api
from serving.config import Catalog, RemoteModel
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

CHAT = "/v1/chat/completions"


class Engine:
    """`hangs` says a word and no more. The others have several choices, each of as many tokens as may be.

    `llamacpp` reports as llama.cpp does, `vllm` as vLLM and OpenAI do, and `one` is a llama.cpp by another name.
    """

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
        n, most, kind = document.get("n", 1), document["max_tokens"], document["model"]
        prompts = len(document["prompt"]) if isinstance(document.get("prompt"), list) else 1
        together = {"prompt_tokens": 7 * prompts, "completion_tokens": n * prompts * most}
        alone = {"prompt_tokens": 7, "completion_tokens": most}
        reason = "stop" if document["stop"] == ["early"] else "length"
        said = [{"message": {"role": "assistant", "content": "abc"}}, {"text": "abc"}]["prompt" in document]
        if not document.get("stream"):
            choices = [{"index": i, "finish_reason": reason, **said} for i in range(n * prompts)]
            return web.json_response({"choices": choices, "usage": together if kind == "vllm" else alone})
        frames = [{"choices": [{"index": i, "delta": {"content": "abc"}, "finish_reason": reason}]} for i in range(n)]
        frames += [{"choices": [], "usage": together if kind == "vllm" else alone}] * (1 if kind != "llamacpp" else n)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(f"data: {json.dumps(frame)}\n\n".encode() for frame in frames))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def tokenize(self, request):
        return web.json_response({"tokens": list((await request.json())["content"])})


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
    for path in (CHAT, "/v1/completions"):
        app.router.add_post(path, scripted.answer)
    app.router.add_post("/tokenize", scripted.tokenize)
    with engine(loop, app, cancels=True) as port:
        kinds = {"hangs": None, "llamacpp": "llamacpp", "vllm": "vllm", "one": None}
        url = f"http://127.0.0.1:{port}/v1"
        catalog = Catalog(models=tuple(RemoteModel(name=n, url=url, tokenizer=t) for n, t in kinds.items()))
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


def settled(world, path="/chat/completions", **asked):
    """Returns the usage that the caller is told of, the tokens that were reserved at most, and those that were used."""
    reserved = []
    keeper = world.up.services.keeper
    reserve = keeper.reserve

    async def seen(needs):
        reserved.extend(units for quota, units in needs if quota.measure == "tokens")
        return await reserve(needs)

    limit = {"subject": "tenant", "id": "default", "window": "month", "measure": "tokens", "limit": 10**9}
    [quota] = world.http.put("/admin/quotas", json={"quotas": [limit]}).json()["data"]
    keeper.reserve = seen
    try:
        stream = {"stream": True, "stream_options": {"include_usage": True}} if asked.pop("stream", False) else {}
        answer = world.http.post(path, json={"max_tokens": 20, "stop": ["late"], **asked, **stream})
    finally:
        del keeper.reserve
    assert answer.status_code == 200, answer.text
    usage = json.loads(answer.text.split("data: ")[-2])["usage"] if stream else answer.json()["usage"]

    def used():
        world.up.loop.do(keeper.tell())
        [now] = world.http.get("/admin/quotas").json()["data"]
        return now["reserved"] == 0 and now["used"] > quota["used"] and now["used"]

    return usage, max(reserved), eventually(used, "the tokens are settled") - quota["used"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["llamacpp", "vllm", "one"])
def test_all_choices_are_reserved_shown_and_settled(world, model, stream):
    usage, most, used = settled(world, model=model, messages=ASKED["messages"], n=4, stream=stream)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 80)
    assert used == 87 <= most


def test_choices_of_llama_cpp_that_ended_by_themselves_are_counted_by_it(world):
    asked = {"model": "llamacpp", "messages": ASKED["messages"], "n": 3, "stop": ["early"]}
    usage, _, used = settled(world, **asked)
    assert used - 7 == usage["completion_tokens"] == 20 + 2 * len("abc\n")  # of the first as it is reported


def test_all_prompts_are_settled(world):
    usage, most, used = settled(world, "/completions", model="llamacpp", prompt=["one", "three"], n=2)
    assert usage["completion_tokens"] == 80
    assert used == 7 + len("three\n") + 80 <= most


def test_who_hangs_up_on_several_choices_is_not_known_by_one_of_them():
    report = {"prompt_tokens": 7, "completion_tokens": 20}
    assert several.of_stream([report], {"n": 4}, [], whole=False) == {}
