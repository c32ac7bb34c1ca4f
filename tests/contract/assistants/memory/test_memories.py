"""Facts about a user, as a whole: found after answers, told to the model, and the user's to read and edit."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from serving.config import Assistant, Catalog, FactsMemory, NoMemory, RemoteModel
from serving.core.principal import Principal
from tests.contract.assistants.memory.engine import WordCountingEngine, words
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

WINDOW = 300


class Engine(WordCountingEngine):
    """Finds a fact wherever somebody says `I …`; answers with what it is told to when that begins with `!`."""

    window = WINDOW

    def __init__(self):
        self.prompts, self.asked = [], []

    async def chat(self, request):
        body = await request.json()
        messages = body["messages"]
        assert words(messages) + body.get("max_tokens", 0) <= WINDOW
        text = "echo"
        if "lasting facts" in str(messages[0]["content"]):
            self.asked.append(body)
            said = messages[1]["content"].partition("Lines:\n")[2].partition("\n\nJSON")[0].splitlines()
            told = [line.removeprefix("User: ") for line in said if line.startswith("User: ")]
            broken = next((line[1:] for line in told if line.startswith("!")), None)
            text = json.dumps([line[:100] for line in told if line.startswith("I ")]) if broken is None else broken
        else:
            self.prompts.append(messages)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice]})


class World:
    def __init__(self, up, engine, http):
        self.up, self.engine, self.http = up, engine, http

    def ask(self, text, model="knows", conversation=None):
        """Returns (prompt, report) in a new conversation, or a given one, once memory has done its work."""
        conversation = conversation or self.http.post("/v1/conversations", json={}).json()["id"]
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20}
        answer = self.http.post("/v1/chat/completions", json=body | {"conversation": conversation}).json()
        eventually(lambda: not self.up.loop.do(self.up.services.jobs.unfinished()), "memory's jobs end", 30)
        return self.engine.prompts[-1], answer["choices"][0]["message"]["headrace"]["memory"]

    def facts(self, **query):
        return self.http.get("/v1/memories", params=query).json()["data"]

    def say(self, text, assistant="knows"):
        return self.http.post("/v1/memories", json={"assistant": assistant, "text": text})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        model = RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", tokenizer="vllm")
        assistants = (
            Assistant(name="knows", model="m", prompt="Be brief.", memory=FactsMemory(tokens=60, limit=5, turns=1)),
            Assistant(name="other", model="m", memory=FactsMemory()),
            Assistant(name="forgets", model="m", memory=NoMemory()),
        )
        catalog = Catalog(models=(model,), assistants=assistants)
        with (
            gateway(loop, tmp_path_factory.mktemp("gateway"), catalog) as up,
            up.client() as http,
        ):
            yield World(up, scripted, http)


@pytest.fixture
def world(served):
    for fact in served.facts(limit=100):
        assert served.http.delete(f"/v1/memories/{fact['id']}").status_code == 200
    return served


def test_facts_carry_over_to_the_next_conversation(world):
    _, report = world.ask("I live in Bern.")
    assert report == {"turns": 0, "left_out": 0, "facts": 0}
    [fact] = world.facts()
    assert (fact["text"], fact["made_by"], fact["assistant"]) == ("I live in Bern.", "model", "knows")
    assert fact["conversation_id"].startswith("conv_")
    prompt, report = world.ask("Where do I live?")
    assert report == {"turns": 0, "left_out": 0, "facts": 1}
    assert [m["role"] for m in prompt] == ["system", "system", "user"]
    assert "- I live in Bern." in prompt[1]["content"]
    assert world.engine.asked[-1]["response_format"]["type"] == "json_schema"
    for model in ("other", "forgets"):
        prompt, _ = world.ask("Where do I live?", model)
        assert "Bern" not in str(prompt)


def test_a_user_reads_and_edits(world):
    made = world.say("I am  tall.").json()
    assert (made["object"], made["text"], made["made_by"]) == ("memory", "I am tall.", "user")
    changed = world.http.post(f"/v1/memories/{made['id']}", json={"text": "I am short."}).json()
    assert world.facts() == [changed]
    assert "I am short." in world.ask("?")[0][1]["content"]
    world.say("I have a dog.", "other")
    assert [f["text"] for f in world.facts()] == ["I have a dog.", "I am short."]
    assert [f["text"] for f in world.facts(assistant="knows")] == ["I am short."]
    assert world.http.delete(f"/v1/memories/{made['id']}").json() == {
        "id": made["id"],
        "object": "memory.deleted",
        "deleted": True,
    }
    assert world.facts(assistant="knows") == []
    assert "short" not in str(world.ask("?")[0])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "", {"assistant": "knows"}, 400, "text"),
        ("POST", "", {"assistant": "knows", "text": ""}, 400, "text"),
        ("POST", "", {"assistant": "knows", "text": " \n"}, 400, "text"),
        ("POST", "", {"assistant": "knows", "text": "x" * 501}, 400, "text"),
        ("POST", "", {"assistant": "knows", "text": "\0"}, 400, "text"),
        ("POST", "", {"assistant": "knows", "text": 5}, 400, "text"),
        ("POST", "", {"assistant": "forgets", "text": "x"}, 400, "assistant"),
        ("POST", "", {"assistant": "m", "text": "x"}, 400, "assistant"),
        ("POST", "/mem_0", {"text": "x"}, 404, None),
        ("POST", "/%00", {"text": "x"}, 404, None),
        ("DELETE", "/mem_0", None, 404, None),
        ("GET", "?limit=0", None, 400, "limit"),
        ("GET", "?after=mem_0", None, 400, "after"),
        ("GET", f"?assistant={'x' * 129}", None, 400, "assistant"),
        ("PUT", "", {}, 405, None),
    ],
)
def test_invalid_requests_name_the_parameter_and_store_nothing(world, method, path, body, status, param):
    response = world.http.request(method, f"/v1/memories{path}", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert world.facts() == []


def test_another_users_memories_are_a_404(world):
    caller = world.up.loop.do(world.up.services.authenticate(world.http.headers["authorization"]))
    for theirs in (Principal(caller.tenant, "somebody", "k"), Principal("evil", caller.user, "k")):
        id = world.up.loop.do(world.up.services.memories.add(theirs, "knows", "secret")).id
        assert world.http.post(f"/v1/memories/{id}", json={"text": "x"}).status_code == 404
        assert world.http.delete(f"/v1/memories/{id}").status_code == 404
        assert world.facts() == []
        assert "secret" not in str(world.ask("?")[0])
        world.up.loop.do(world.up.services.memories.delete(theirs, id))


@pytest.mark.parametrize("answer", ["Sure!", '{"a": 1}', "[", '[""]', "[5]"])
def test_answers_without_a_list_of_facts_are_dropped(world, answer):
    world.ask(f"!{answer}")
    assert world.facts() == []
    job = world.up.loop.do(world.up.services.jobs.list(caller_of(world), kind="remember", limit=1)).items[0]
    assert job.status == "succeeded"
    assert job.result == {"found": 0, "new": 0, "dropped": int(not answer.startswith("[") or answer == "[")}


def caller_of(world):
    return world.up.loop.do(world.up.services.authenticate(world.http.headers["authorization"]))


def test_facts_are_shown_within_the_budget_user_edited_first(world):
    for n in range(5):
        world.ask(f"I like the number {n} {'very much ' * 5}")
    world.say("I am the first to be told.")
    prompt, report = world.ask("?")
    assert 1 < report["facts"] < 6
    assert words([prompt[1]]) <= 60
    lines = [line for line in prompt[1]["content"].splitlines() if line.startswith("- ")]
    assert lines[0] == "- I am the first to be told."
    assert "number 4" in lines[1]
    assert len(lines) == report["facts"]
    prompt, report = world.ask("word " * 262)
    assert report["facts"] == 0
    assert words(prompt) <= WINDOW - 20


def test_a_long_turn_is_cut_for_the_model_that_finds_facts(world):
    conversation = world.http.post("/v1/conversations", json={}).json()["id"]
    world.ask("I said much: " + "word " * 220, conversation=conversation)
    assert [f["text"][:12] for f in world.facts()] == ["I said much:"]
