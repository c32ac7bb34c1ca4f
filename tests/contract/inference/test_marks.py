"""Marks around text from others: equal for equal requests, and never in an answer. 1,000 scripted answers copy them."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import pytest
from aiohttp import web

from serving.assistants.spotlight import DATAMARK
from serving.config import Assistant, Catalog, FactsMemory, React, RemoteModel
from serving.core.principal import Principal
from serving.retrieval.types import Attribution, Hit
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, engine, gateway

TEXT = "The sea is 42 m deep and cold."
CHUNK = Hit("c", "file-1", "sea.md", "Sea", "", TEXT, 0, len(TEXT), None, 0.9, 0.9, 0.0)
NOTE = re.compile(r"between <([0-9a-f]{8})> and .*?written by others(?:, and (.) stands)?")
WORDS = ("The", "sea", "is", "42", "m", "deep", "<b>", "a < b", "deadbeef", "3/4", "é", "\n")
ANSWERS = 1_000
ASKED = {"messages": [{"role": "user", "content": "How deep is the sea?"}]}


@dataclass
class Engine:
    """Copies the marks of its prompt into answers, which it divides at random; `true` is what they say without."""

    asked: list[list[dict[str, Any]]] = field(default_factory=list)
    true: dict[int, str] = field(default_factory=dict)
    calls: bool = False
    said: list[str] = field(default_factory=list)

    def written(self, seed: int, mark: str, sign: str | None) -> str:
        choose = random.Random(seed)
        copies = [f"<{mark}>", f"</{mark}>", mark, f"<{mark}"]
        text = true = ""
        for _ in range(choose.randint(1, 12)):
            word, joint = choose.choice(WORDS), choose.choice(" ,")
            copy = choose.choice(copies) if choose.random() < 0.5 else ""
            text += word + copy + (sign if sign and joint == " " else joint)
            true += word + joint
        # Some are cut off within a mark by max_tokens, and some end with what could only have begun one.
        end, left = choose.choice(
            [(f"<{mark}>", ""), (f"</{mark[:6]}", ""), ("", ""), ("<", "<"), (mark[:2], mark[:2])]
        )
        self.true[seed] = true + left
        return text + end

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body["messages"])
        prompt = json.dumps(body["messages"], ensure_ascii=False)
        (mark, sign), seed = (NOTE.findall(prompt) or [("", "")])[-1], body.get("seed", 0)
        text = self.said.pop(0).format(mark=mark) if self.said else self.written(seed, mark, sign or None)
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        field = "reasoning_content" if seed % 5 == 4 else "content"
        said: dict[str, Any] = {"role": "assistant", "content": None if field != "content" else "", field: text}
        if self.calls:
            call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": text})}}
            said = {"role": "assistant", "content": None, "tool_calls": [call]}
        if not body.get("stream"):
            choice = {"index": 0, "message": said, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "usage": usage})
        choose = random.Random(-seed)
        deltas: list[dict[str, Any]] = [{"role": "assistant"}]
        deltas += [self._delta(field, text, piece) for piece in _cut(choose, self._streamed(text))]
        frames = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        if choose.random() < 0.5 and not self.calls:
            frames[-1]["finish_reason"] = "stop"  # some engines end with the last piece
        else:
            frames.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        lines = [{"choices": [frame]} for frame in frames] + [{"choices": [], "usage": usage}]
        whole = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in _cut(choose, whole, most=8):
            await response.write(part.encode())
            await asyncio.sleep(0)
        return response

    def _streamed(self, text: str) -> str:
        return json.dumps({"a": text}) if self.calls else text

    def _delta(self, field: str, text: str, piece: str) -> dict[str, Any]:
        if not self.calls:
            return {field: piece}
        return {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": piece}}]}


def _cut(choose: random.Random, text: str, most: int = 40) -> list[str]:
    at = sorted({0, len(text), *(choose.randrange(len(text)) for _ in range(choose.randint(0, most)))}) if text else [0]
    return [text[begin:end] for begin, end in pairwise(at)]


class Retrieval:
    """Finds one passage for every question."""

    def __init__(self) -> None:
        self.call = self

    async def remote(self, method: str, *_: Any) -> Any:
        return Attribution((), ()) if method == "attribute" else [CHUNK]


@dataclass
class World:
    up: Gateway
    engine: Engine
    http: httpx.Client
    store: str

    def ask(self, model: str, *, stream: bool = False, **more: Any) -> dict[str, str]:
        """Returns the fields of the answer that have text, and the arguments of its call."""
        body = ASKED | {"model": model, "stream": stream} | more
        if model == "m":
            body["knowledge"] = {"vector_store_ids": [self.store]}
        answer = self.http.post("/v1/chat/completions", json=body).raise_for_status()
        if not stream:
            parts = [answer.json()["choices"][0]["message"]]
        else:
            assert answer.text.endswith("data: [DONE]\n\n")
            frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            parts = [choice["delta"] for frame in frames for choice in frame["choices"]]
        told: dict[str, str] = {}
        for part in parts:
            for name in ("content", "reasoning_content"):
                told[name] = told.get(name, "") + (part.get(name) or "")
            for call in part.get("tool_calls") or ():
                told["arguments"] = told.get("arguments", "") + call["function"]["arguments"]
        return told


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    scripted, app = Engine(), web.Application()
    app.router.add_post("/v1/chat/completions", scripted.answer)
    with Loop() as loop, engine(loop, app) as port:
        catalog = Catalog(
            models=(RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1"),),
            assistants=(
                Assistant(name="marked", model="m", knowledge=("docs",), spotlight="datamark"),
                Assistant(name="held", model="m", knowledge=("docs",), spotlight="datamark", unsupported="refuse"),
                Assistant(name="plain", model="m", spotlight="none"),
                Assistant(name="remembers", model="m", spotlight="none", memory=FactsMemory(tokens=4_000)),
                Assistant(
                    name="thinks", model="m", strategy=React(), tools=("calculator",), knowledge=("docs",),
                    spotlight="delimit",
                ),
            ),
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("marks")
        with gateway(loop, folder, catalog, retrieval=Retrieval()) as up, up.client() as http:
            store = http.post("/v1/vector_stores", json={"name": "sea"}).json()["id"]
            yield World(up, scripted, http, store)


@pytest.fixture(autouse=True)
def _fresh(world: World) -> None:
    world.engine.asked.clear()
    world.engine.calls, world.engine.said = False, []


def test_no_answer_has_marks_however_it_is_divided(world: World) -> None:
    wrong = []
    for seed in range(ANSWERS):
        told = world.ask(("m", "marked")[seed % 2], stream=seed % 4 > 1, seed=seed)
        said = told["reasoning_content"] if seed % 5 == 4 else told["content"]
        if said != world.engine.true[seed]:
            wrong.append((seed, said, world.engine.true[seed]))
    assert wrong == []
    assert len(world.engine.asked) == ANSWERS


@pytest.mark.parametrize("stream", [False, True])
def test_arguments_of_calls_have_no_marks(world: World, stream: bool) -> None:
    world.engine.calls = True
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    for seed in range(40):
        told = world.ask("m", stream=stream, seed=seed, tools=[tool])
        left = json.loads(told["arguments"])["a"]
        assert re.sub(r"</[0-9a-f]{6}$", "", left) == world.engine.true[seed]


def test_answers_that_are_held_back_and_reasoning_steps_have_no_marks(world: World) -> None:
    world.engine.said = ["<{mark}>It is 42 m.</{mark}>"]
    assert world.ask("held")["content"] == "It is 42 m."
    for stream in (False, True):
        world.engine.said = [
            "Thought: <{mark}> I multiply.\nAction: calculator\nAction Input: 6 * 7",
            "Thought: <{mark}> I know.\nFinal Answer: 42 {mark}m",
        ]
        told = world.ask("thinks", stream=stream)
        assert told["content"].strip() == "42 m"
        if stream:
            assert "observation calculator: 42" in told["reasoning_content"]
            assert not re.search(r"[0-9a-f]{8}|written by others", told["reasoning_content"])
        assert NOTE.search(json.dumps(world.engine.asked[-1][-1], ensure_ascii=False)), "the result is marked"


DATA = base64.b64encode(b"The sea is deep.").decode()
FILE = {"type": "file", "file": {"filename": "sea.txt", "file_data": f"data:text/plain;base64,{DATA}"}}


@pytest.mark.parametrize(
    "body",
    [ASKED | {"model": "marked"}, {"model": "m", "messages": [{"role": "user", "content": [FILE]}]}],
    ids=["passages", "a file"],
)
def test_equal_requests_have_equal_prompts_and_other_tenants_other_marks(world: World, body: dict[str, Any]) -> None:
    with _of_other_tenant(world) as other:
        for http in (world.http, world.http, other):
            http.post("/v1/chat/completions", json=body).raise_for_status()
    own, again, theirs = world.engine.asked
    assert own == again
    marks = [NOTE.findall(json.dumps(messages, ensure_ascii=False)) for messages in (own, theirs)]
    assert len(marks[0]) == len(marks[1]) == 1
    assert marks[0][0][0] != marks[1][0][0]


def test_a_bare_models_passages_have_equal_marks_too(world: World) -> None:
    for _ in range(2):
        world.ask("m")
    assert world.engine.asked[0] == world.engine.asked[1]
    assert NOTE.search(json.dumps(world.engine.asked[0]))


@pytest.mark.parametrize("assistant", ["plain", "marked"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_others_wrote_in_a_conversation_does_not_choose_what_answers_lose(
    world: World, assistant: str, stream: bool
) -> None:
    """A conversation of keys without a user, or one that was forked, has text of several people."""
    shared = world.http.post("/v1/conversations", json={}).json()["id"]
    said = DATAMARK.format(mark="20240101", sign="¶")
    content = [{"type": "input_text", "text": said}]
    items = {"items": [{"type": "message", "role": "user", "content": content}]}
    world.http.post(f"/v1/conversations/{shared}/items", json=items).raise_for_status()
    for _ in range(2):
        world.engine.said = ["It was on 20240101, says ¶ 4."]
        told = world.ask(assistant, stream=stream, conversation=shared)
        assert told["content"] == "It was on 20240101, says ¶ 4."
    assert said[1:] in json.dumps(world.engine.asked[-1], ensure_ascii=False)


def test_what_was_remembered_does_not_choose_what_answers_lose(world: World) -> None:
    said = DATAMARK.format(mark="20240101", sign="¶")
    fact = {"assistant": "remembers", "text": said}
    world.http.post("/v1/memories", json=fact).raise_for_status()
    conversation = world.http.post("/v1/conversations", json={}).json()["id"]
    world.engine.said = ["It was on 20240101, says ¶ 4."]
    assert world.ask("remembers", conversation=conversation)["content"] == "It was on 20240101, says ¶ 4."
    assert said[1:] in json.dumps(world.engine.asked[-1], ensure_ascii=False)


def _of_other_tenant(world: World) -> httpx.Client:
    key = world.up.loop.do(key_of(world.up.services, Principal("other", "eve", "")))
    return httpx.Client(base_url=world.up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
