"""Memory that recalls, as a whole: past turns are found by the shipped embedder, before a scripted engine."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from ray.exceptions import RayError

from serving.config import JUDGE, Assistant, Catalog, RemoteModel, VectorMemory
from serving.retrieval.embedders.onnx import OnnxEmbedder
from tests.contract.assistants.memory.engine import WordCountingEngine, words
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

WINDOW = 300
SAID = [
    "My dog is called Rex and he is a beagle.",
    "The invoice of March was paid late.",
    "I planted tomatoes and basil in the garden.",
    "The train to Geneva leaves at seven.",
    "We painted the kitchen blue last week.",
]


class Engine(WordCountingEngine):
    """Says `echo`, and counts words."""

    window = WINDOW

    def __init__(self):
        self.prompts = []

    async def chat(self, request):
        body = await request.json()
        assert words(body["messages"]) + body["max_tokens"] <= WINDOW
        self.prompts.append(body["messages"])
        choice = {"index": 0, "message": {"role": "assistant", "content": "echo"}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice]})


class Retrieval:
    """A handle of the retrieval deployment, which embeds in this process, or is down."""

    def __init__(self):
        self.call = self
        self.embedder = OnnxEmbedder(JUDGE)
        self.down = False

    async def remote(self, method, *args):
        if self.down:
            raise RayError
        assert method == "embed"
        return await asyncio.to_thread(self.embedder.embed, args[0]), 0


class World:
    def __init__(self, up, engine, retrieval, http):
        self.up, self.engine, self.retrieval, self.http = up, engine, retrieval, http

    def new(self):
        return self.http.post("/v1/conversations", json={}).json()["id"]

    def ask(self, conversation, text, model="finds"):
        """Returns (prompt, report) once memory has done its work."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20}
        answer = self.http.post("/v1/chat/completions", json=body | {"conversation": conversation}).json()
        eventually(lambda: not self.up.loop.do(self.up.services.jobs.unfinished()), "memory's jobs end", 30)
        return self.engine.prompts[-1], answer["choices"][0]["message"]["headrace"]["memory"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted, loop, retrieval = Engine(), Loop(), Retrieval()
    with engine(loop, scripted.app()) as port:
        model = RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", tokenizer="vllm")
        kinds = {
            "finds": VectorMemory(turns=1, top_k=2, min_score=0.25),
            "everywhere": VectorMemory(turns=1, top_k=2, min_score=0.25, scope="principal"),
            "narrow": VectorMemory(turns=0, top_k=50, min_score=-1, tokens=80),
        }
        assistants = [Assistant(name=n, model="m", prompt="Be brief.", memory=memory) for n, memory in kinds.items()]
        catalog = Catalog(models=(model,), assistants=tuple(assistants))
        with (
            gateway(loop, tmp_path_factory.mktemp("gateway"), catalog, retrieval=retrieval) as up,
            up.client() as http,
        ):
            up.services.jobs._backoff_s = 0.01
            yield World(up, scripted, retrieval, http)
    loop.stop()


def test_a_past_turn_is_found_by_similarity(world):
    conversation = world.new()
    for text in SAID:
        world.ask(conversation, text)
    prompt, report = world.ask(conversation, "What is the name of my dog?")
    assert report["turns"] == 1
    assert 1 <= report["recalled"] <= 2
    assert report["turns"] + report["recalled"] + report["left_out"] == len(SAID)
    assert [m["role"] for m in prompt] == ["system", "system", "user", "assistant", "user"]
    assert "User: My dog is called Rex and he is a beagle.\nAssistant: echo" in prompt[1]["content"]
    assert prompt[2]["content"] == SAID[-1]
    other, _ = world.ask(world.new(), "What is the name of my dog?")
    assert "Rex" not in str(other)


def test_the_newest_turns_are_not_shown_twice(world):
    conversation = world.new()
    prompt, report = world.ask(conversation, SAID[0])
    prompt, report = world.ask(conversation, "What is the name of my dog?")
    assert report == {"turns": 1, "left_out": 0, "recalled": 0}
    assert str(prompt).count("Rex") == 1


def test_a_new_conversation_recalls_turns_of_earlier_ones(world):
    world.ask(world.new(), SAID[0], "everywhere")
    prompt, report = world.ask(world.new(), "What is the name of my dog?", "everywhere")
    assert report == {"turns": 0, "left_out": 0, "recalled": 1}
    assert "Rex" in prompt[1]["content"]


@pytest.mark.parametrize(("model", "recalled"), [("everywhere", True), ("finds", False)])
def test_a_chain_of_responses_recalls_conversations_where_the_scope_is_the_user(world, model, recalled):
    world.ask(world.new(), SAID[0], model)
    body = {"model": model, "max_output_tokens": 20}
    first = world.http.post("/v1/responses", json=body | {"input": "Hello."}).json()["id"]
    question = {"input": "What is the name of my dog?", "previous_response_id": first}
    answer = world.http.post("/v1/responses", json=body | question).json()
    assert (answer["headrace"]["memory"]["recalled"] > 0) == recalled
    assert ("Rex" in str(world.engine.prompts[-1])) == recalled
    assert not world.up.loop.do(world.up.services.jobs.unfinished())


def test_recalled_turns_are_bounded_and_ordered(world):
    conversation = world.new()
    for text in SAID * 2:
        world.ask(conversation, text, "narrow")
    prompt, report = world.ask(conversation, "Tell me all.", "narrow")
    assert 2 < report["recalled"] < 10
    assert words([prompt[1]]) <= 80
    assert report["recalled"] + report["left_out"] == 10
    lines = [line.removeprefix("User: ") for line in prompt[1]["content"].splitlines() if line.startswith("User: ")]
    assert len(lines) == report["recalled"]
    places, at = [], -1
    for line in lines:
        at = (SAID * 2).index(line, at + 1)
        places.append(at)
    assert places == sorted(places)
    prompt, report = world.ask(conversation, "word " * 260, "narrow")
    assert report["recalled"] == 0


def test_missed_embeddings_are_created_later(world):
    conversation = world.new()
    world.retrieval.down = True
    world.ask(conversation, SAID[0])
    _, report = world.ask(conversation, SAID[1])
    assert report == {"turns": 1, "left_out": 0, "recalled": 0}  # the chat goes on
    world.retrieval.down = False
    world.ask(conversation, SAID[2])
    prompt, report = world.ask(conversation, "What is the name of my dog?")
    assert report["recalled"] >= 1
    assert "Rex" in prompt[1]["content"]


def test_deleted_turns_are_not_recalled(world):
    conversation = world.new()
    for text in SAID[:3]:
        world.ask(conversation, text)
    first = world.http.get(f"/v1/conversations/{conversation}/items?order=asc&limit=2").json()["data"]
    for item in first:
        world.http.delete(f"/v1/conversations/{conversation}/items/{item['id']}")
    prompt, _ = world.ask(conversation, "What is the name of my dog?")
    assert "Rex" not in str(prompt)
