"""That what grows while nobody watches is counted as it grows: answers of batches, queued responses, ratings."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from aiohttp import web

from serving.config import Catalog, RemoteModel
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

CHAT = "/v1/chat/completions"
SPENT = (429, "insufficient_quota", "false")


class Embeds:
    """Retrieval that only embeds."""

    def __init__(self):
        self.call = self

    async def remote(self, method, *args):
        return np.ones((len(args[0]), 2), np.float32), len(args[0])


class World:
    def __init__(self, up, http):
        self.up, self.http = up, http


async def answer(request):
    """The model `hangs` says nothing; the other says a word."""
    if (await request.json())["model"] == "hangs":
        await asyncio.Event().wait()
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    choice = {"index": 0, "message": {"role": "assistant", "content": "abc"}, "finish_reason": "stop"}
    return web.json_response({"choices": [choice], "usage": usage})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    app = web.Application()
    app.router.add_post(CHAT, answer)
    with Loop() as loop, engine(loop, app, cancels=True) as port:
        models = tuple(RemoteModel(name=name, url=f"http://127.0.0.1:{port}/v1") for name in ("says", "hangs"))
        folder, catalog = tmp_path_factory.mktemp("growing"), Catalog(models=models)
        with gateway(loop, folder, catalog, retrieval=Embeds()) as up, up.client("/v1") as http:
            yield World(up, http)


def of(world, measure):
    return next(each for each in world.http.get("/admin/quotas").json()["data"] if each["measure"] == measure)


def refused(answer):
    error = answer.json()["error"]
    return (answer.status_code, error["code"], answer.headers.get("x-should-retry")), error["message"]


def batch(world, path, bodies):
    lines = [{"custom_id": f"{n}", "method": "POST", "url": path, "body": body} for n, body in enumerate(bodies)]
    sent = {"file": ("in.jsonl", "\n".join(map(json.dumps, lines)))}
    file = world.http.post("/files", files=sent, data={"purpose": "batch"}).json()["id"]
    return {"input_file_id": file, "endpoint": path, "completion_window": "24h"}


def ended(world, answer):
    assert answer.status_code == 200, answer.text
    path = f"/batches/{answer.json()['id']}"
    over = ("completed", "failed")
    return eventually(lambda: (one := world.http.get(path).json())["status"] in over and one, "it ends", 60)


def content(world, id):
    return world.http.get(f"/files/{id}/content").content if id is not None else b""


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"])
def test_a_batch_ends_before_it_stores_more_than_a_quota_leaves(world, limited, path):
    """Each answer is counted as it comes, with the bytes that it has in a file; what is there can be read."""
    chat = {"model": "says", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    embeds = {"model": world.up.services.retrieval.embedder, "input": ["a"] * 2048}
    bodies = [chat] * 30 if path == CHAT else [embeds] * 4
    before = limited("stored_bytes", 10**9, "total").json()["data"][0]["used"]
    asked = batch(world, path, bodies)
    whole = ended(world, world.http.post("/batches", json=asked))
    assert whole["status"] == "completed", content(world, whole["error_file_id"])[:500]
    assert whole["error_file_id"] is None, content(world, whole["error_file_id"])[:500]
    answers = content(world, whole["output_file_id"])
    sent = len(world.http.get(f"/files/{asked['input_file_id']}/content").content)
    assert of(world, "stored_bytes")["used"] == before + sent + len(answers)
    left = len(answers) // 2
    limited("stored_bytes", before + sent + len(answers) + left, "total")
    cut = ended(world, world.http.post("/batches", json=asked))
    assert (cut["status"], [each["code"] for each in cut["errors"]["data"]]) == ("failed", ["insufficient_quota"])
    assert "stored bytes in all of this tenant" in cut["errors"]["data"][0]["message"]
    kept = content(world, cut["output_file_id"])
    assert left / 2 <= len(kept) <= left
    assert cut["error_file_id"] is None
    assert cut["request_counts"]["completed"] == len(kept.splitlines()) == len(bodies) // 2
    assert of(world, "stored_bytes")["used"] == before + sent + len(answers) + len(kept)
    used = of(world, "stored_bytes")["used"]
    limited("stored_bytes", used, "total")
    assert refused(world.http.post("/batches", json=asked))[0] == SPENT


def test_queued_responses_count_until_their_end(world, limited):
    """Budgets must be enough for all that waits, and requests that wait are stored."""

    def ask(text="hi"):
        return world.http.post(
            "/responses", json={"model": "hangs", "input": text, "background": True, "max_output_tokens": 1000}
        )

    stored = limited("stored_bytes", 10**9, "total").json()["data"][0]["used"]
    tokens = limited("tokens", 10**9).json()["data"][0]["used"]
    limited("tokens", tokens + 5000)
    queued = [ask(), ask()]
    assert [answer.status_code for answer in queued] == [200, 200]
    assert refused(ask("x" * 2000))[0] == SPENT, "what waits may use the rest"
    queued.append(ask())
    assert queued[2].status_code == 200, queued[2].text
    of_queue = of(world, "stored_bytes")["used"] - stored
    assert 3 * 100 < of_queue < 3 * 2000
    limited("tokens", tokens + 10**6)
    limited("stored_bytes", stored + of_queue + 1000, "total")
    kind, message = refused(ask("x" * 1000))
    assert (kind, "stored bytes" in message) == (SPENT, True)
    for answer in queued:
        assert world.http.post(f"/responses/{answer.json()['id']}/cancel").status_code == 200
    eventually(lambda: of(world, "stored_bytes")["used"] == stored, "nothing of it is kept for the queue")


def test_ratings_count_towards_quotas(world, limited):
    chat = {"model": "says", "messages": [{"role": "user", "content": "hi"}]}
    answer = world.http.post("/chat/completions", json=chat).json()["id"]

    def rate(**more):
        return world.http.post("/feedback", json={"target": {"type": "response", "id": answer}} | more)

    stored = limited("stored_bytes", 10**9, "total").json()["data"][0]["used"]
    items = limited("items", 10**6).json()["data"][0]["used"]
    first = rate(correction="\u00e9" * 300, comment="x" * 100)
    assert first.status_code == 200
    assert (of(world, "stored_bytes")["used"], of(world, "items")["used"]) == (stored + 700, items + 1)
    limited("stored_bytes", stored + 1000, "total")
    assert refused(rate(correction="y" * 301))[0] == SPENT
    assert rate(correction="y" * 300).status_code == 200
    limited("items", items + 2)
    assert refused(rate(thumb="up"))[0] == SPENT
    assert world.http.delete(f"/feedback/{first.json()['id']}").status_code == 200
    assert of(world, "stored_bytes")["used"] == stored + 300
