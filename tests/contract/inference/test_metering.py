"""That each use is counted once and paid for by whom it is for: hang-ups, choices, what is stored, what runs later."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from aiohttp import web

from serving.api.app import Api
from serving.assistants.memory.helper_model import lease_helper
from serving.config import Assistant, Catalog, FactsMemory, Price, RemoteModel
from serving.core.principal import Principal
from serving.engines import choices_usage
from serving.store.jobs.worker import PermanentError, Postponed
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
        reason = "stop" if document.get("stop") == ["early"] else "length"
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
        return web.json_response({"tokens": list((await request.json()).get("content", "")), "count": 1})


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


PRICE = Price(input=Decimal(1), output=Decimal(2))
ASKED = {"model": "hangs", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    app = web.Application()
    for path in (CHAT, "/v1/completions"):
        app.router.add_post(path, scripted.answer)
    app.router.add_post("/tokenize", scripted.tokenize)
    with Loop() as loop, engine(loop, app, cancels=True) as port:
        kinds = {"hangs": None, "llamacpp": "llamacpp", "vllm": "vllm", "one": None}
        url = f"http://127.0.0.1:{port}/v1"
        models = tuple(RemoteModel(name=n, url=url, tokenizer=t, price=PRICE) for n, t in kinds.items())
        assistants = (Assistant(name="learns", model="vllm", memory=FactsMemory(), guardrails=()),)
        catalog = Catalog(models=models, assistants=assistants)
        with (
            gateway(loop, tmp_path_factory.mktemp("metering"), catalog) as up,
            up.client("/v1") as http,
        ):
            yield World(up, scripted, http)


def test_a_disconnect_is_counted_once(world):
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


def test_llamacpp_usage_counts_all_choices(world):
    asked = {"model": "llamacpp", "messages": ASKED["messages"], "n": 3, "stop": ["early"]}
    usage, _, used = settled(world, **asked)
    assert used - 7 == usage["completion_tokens"] == 20 + 2 * len("abc\n")  # of the first as it is reported


def test_all_prompts_are_settled(world):
    usage, most, used = settled(world, "/completions", model="llamacpp", prompt=["one", "three"], n=2)
    assert usage["completion_tokens"] == 80
    assert used == 7 + len("three\n") + 80 <= most


def test_a_disconnect_charges_all_choices():
    report = {"prompt_tokens": 7, "completion_tokens": 20}
    assert choices_usage.usage_of_reports([report], {"n": 4}, [], whole=False) == {}


def of_background(world):
    """Returns what was used of no request."""
    world.up.loop.do(world.up.services.keeper.tell())
    found = world.http.get("/usage", params={"by": "key"}).json()["data"]
    return next((each for each in found if each["id"] == "background"), {"requests": 0, "completion_tokens": 0})


def test_memory_jobs_are_charged_to_the_conversations_owner(world):
    before = of_background(world)
    conversation = world.http.post("/conversations", json={}).json()["id"]
    asked = {"model": "learns", "messages": ASKED["messages"], "max_tokens": 20, "conversation": conversation}
    assert world.http.post("/chat/completions", json=asked).status_code == 200
    used = eventually(lambda: (now := of_background(world)) != before and now, "the job is charged")
    assert used["requests"] == 0
    assert used["completion_tokens"] > before["completion_tokens"]
    assert used["cost"][0]["currency"] == "USD"


@pytest.mark.parametrize(
    ("subject", "id", "limit", "held"),
    [
        ("tenant", "acme", 1000, Postponed),
        ("user", "ada", 1000, Postponed),
        ("user", "ada", 1, PermanentError),
        ("key", "background", 0, None),
    ],
)
def test_work_in_the_background_waits_for_quotas(world, subject, id, limit, held):
    services, acme = world.up.services, {"tenant": "acme"}
    ada = Principal(tenant="acme", user="ada", key_id="job_1")
    world.http.post("/admin/tenants", json={"id": "acme"})  # it may be there
    given = {"subject": subject, "id": id, "window": "month", "measure": "tokens", "limit": limit}
    [made] = world.http.put("/admin/quotas", params=acme, json={"quotas": [given]}).json()["data"]

    async def ask(most=20):
        route = services.catalog.current.router.resolve("vllm", ada)
        async with lease_helper(services.engines, services.upstream, route, ada, services.keeper) as model:
            return await model.ask(ASKED["messages"], most)

    try:
        if held is Postponed:
            assert world.up.loop.do(ask(600)) == "abc"
        world.engine.asked.clear()
        if held is not None:
            with pytest.raises(held):
                world.up.loop.do(ask(600))
        else:
            assert world.up.loop.do(ask()) == "abc"
        assert world.engine.asked.is_set() == (held is None)
    finally:
        world.http.delete("/admin/quotas", params={**acme, "quota_id": made["quota_id"]})


def upload(world, text="x" * 25):
    return world.http.post("/files", files={"file": ("a.txt", text)}, data={"purpose": "user_data"})


def of(world, measure):
    return next(each for each in world.http.get("/admin/quotas").json()["data"] if each["measure"] == measure)


def refused(answer):
    error = answer.json()["error"]
    return (answer.status_code, error["code"], answer.headers.get("x-should-retry")), error["message"]


SPENT = (429, "insufficient_quota", "false")


def test_uploads_count_towards_quotas(world, limited):
    used = limited("files", 10**6).json()["data"][0]["used"]
    limited("files", used + 2)
    assert [upload(world).status_code for _ in range(2)] == [200, 200]
    assert refused(upload(world))[0] == SPENT
    assert (of(world, "files")["used"], of(world, "files")["reserved"]) == (used + 2, 0)
    assert world.http.post("/files", data={"purpose": "user_data"}).status_code == 429  # nothing of it was read


def test_a_tenant_stores_no_more_bytes_than_it_may(world, limited):
    before = limited("stored_bytes", 10**9, "total").json()["data"][0]
    assert (before["resets_at"], before["reserved"]) == (None, None)
    limited("stored_bytes", before["used"] + 60, "total")
    first, second = upload(world), upload(world)
    assert of(world, "stored_bytes")["used"] == before["used"] + 50
    kind, message = refused(upload(world))
    assert (kind, "stored bytes in all of this tenant" in message) == (SPENT, True)
    assert of(world, "stored_bytes")["used"] == before["used"] + 50
    assert world.http.delete(f"/files/{first.json()['id']}").status_code == 200
    assert upload(world).status_code == 200
    store = world.http.post("/vector_stores", json={"name": "s"}).json()["id"]
    assert refused(world.http.post(f"/vector_stores/{store}/files", json={"file_id": second.json()["id"]}))[0] == SPENT


def test_a_file_that_is_still_to_be_read_counts_in_each_vector_store(world, limited):
    """What it takes there is known only later: many attachments at once would pass a limit that none of them passes."""
    file = upload(world).json()["id"]
    before = limited("stored_bytes", 10**9, "total").json()["data"][0]["used"]
    limited("stored_bytes", before + 60, "total")
    stores = [world.http.post("/vector_stores", json={"name": "s"}).json()["id"] for _ in range(3)]
    for store in stores[:2]:
        assert world.http.post(f"/vector_stores/{store}/files", json={"file_id": file}).status_code == 200
    assert of(world, "stored_bytes")["used"] == before + 50
    assert refused(world.http.post(f"/vector_stores/{stores[2]}/files", json={"file_id": file}))[0] == SPENT


def test_concurrent_uploads_cannot_exceed_a_quota(world, limited, monkeypatch):
    used = limited("stored_bytes", 10**9, "total").json()["data"][0]["used"]
    limited("stored_bytes", used + 30, "total")
    blobs, sent = world.up.services.blobs, []
    write = blobs.write

    async def both(*given, **more):
        sent.append(given)
        while len(sent) < 2:
            await asyncio.sleep(0.01)
        return await write(*given, **more)

    monkeypatch.setattr(blobs, "write", both)
    with ThreadPoolExecutor(2) as pool:
        found = sorted(answer.status_code for answer in pool.map(lambda _: upload(world), range(2)))
    assert found == [200, 429]
    assert of(world, "stored_bytes")["used"] == used + 25


def test_attachments_count_towards_quotas_and_are_bounded(world, limited):
    id = upload(world).json()["id"]
    most = world.up.services.limits.attached_files
    many = world.http.post("/vector_stores", json={"name": "s", "file_ids": [id] * (most + 1)})
    assert (many.status_code, many.json()["error"]["param"]) == (400, "file_ids")
    used = limited("attachments", 10**6).json()["data"][0]["used"]
    limited("attachments", used + 1)
    store = world.http.post("/vector_stores", json={"name": "s"}).json()["id"]
    attach = {"file_id": id}
    assert world.http.post(f"/vector_stores/{store}/files", json=attach).status_code == 200
    assert world.http.post(f"/vector_stores/{store}/files", json=attach).status_code == 200  # is there: nothing to do
    again = world.http.post(f"/vector_stores/{store}/files", json={**attach, "attributes": {"a": 1}})
    assert refused(again)[0] == SPENT
    stores = len(world.http.get("/vector_stores").json()["data"])
    assert refused(world.http.post("/vector_stores", json={"name": "s", "file_ids": [id]}))[0] == SPENT
    assert len(world.http.get("/vector_stores").json()["data"]) == stores


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["once", "by key"])
def test_conversation_items_count_towards_quotas(world, limited, headers):
    used = limited("items", 10**6).json()["data"][0]["used"]
    limited("items", used + 4)
    item = {"type": "message", "role": "user", "content": "hi"}
    id = world.http.post("/conversations", json={"items": [item] * 2}).json()["id"]
    path = f"/conversations/{id}/items"
    assert refused(world.http.post(path, json={"items": [item] * 2}))[0] == SPENT
    assert len(world.http.get(path).json()["data"]) == 2
    assert of(world, "items")["used"] == used + 3  # with the conversation itself
    for _ in range(3 if headers else 1):  # a repetition adds nothing
        assert world.http.post(path, json={"items": [item]}, headers=headers).status_code == 200
    assert of(world, "items")["used"] == used + 4
    assert refused(world.http.post("/conversations", json={}))[0] == SPENT
    assert refused(world.http.post(path, json={"items": [item]}, headers=dict.fromkeys(headers, "2")))[0] == SPENT


def test_storage_quotas_reject_models_and_keys(limited):
    for more in ({"subject": "model", "id": "m"}, {"window": "total"}, {"window": "concurrent"}):
        assert limited("files", 1, **more).status_code == 400
    for more in ({"subject": "key", "id": "k", "window": "total"}, {"window": "day"}):
        assert limited("stored_bytes", 1, **more).status_code == 400
