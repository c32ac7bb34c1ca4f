"""A gateway with scripted engines and documents, for tests of the Responses API."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from aiohttp import web

from serving.retrieval.types import Attribution, Citation, Hit, Position, TextSpan

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 2},
}


MODELS = [
    *("echo", "calls", "no-ids", "long", "cut", "error", "status-500", "slow", "no-choices", "odd", "says-nothing"),
    *("refuses", "calls-first"),
]


TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}


def call(id, at):
    return {"id": id, "type": "function", "function": {"name": "look", "arguments": json.dumps({"at": at})}}


class Engine:
    """An OpenAI-compatible endpoint that answers with the last message, and does what its `model` is called."""

    def __init__(self):
        self.asked = []
        self.release = threading.Event()

    @property
    def prompt(self):
        return self.asked[-1]["messages"]

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/tokenize", self.tokenize)
        return app

    async def tokenize(self, request):
        """A token for every word, in the shape of vLLM."""
        body = await request.json()
        if "messages" not in body:
            return web.json_response({"count": 1, "max_model_len": 1000})
        return web.json_response({"count": sum(len(m["content"].split()) for m in body["messages"])})

    async def chat(self, request):
        body = await request.json()
        self.asked.append(body)
        kind = body["model"]
        if kind == "status-500":
            return web.json_response({"error": {"message": "no"}}, status=500)
        if kind == "slow":
            while not self.release.is_set():
                await asyncio.sleep(0.01)
        message, reason = answer(kind, body["messages"][-1])
        if not body.get("stream"):
            choices = [{"index": 0, "message": message, "finish_reason": reason}]
            return web.json_response({"choices": [] if kind == "no-choices" else choices, "usage": USAGE})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        frames = [frame(delta) for delta in deltas(message, calls_first=kind == "calls-first")]
        if kind == "error":
            frames.append(b'data: {"error": {"message": "broke"}}\n\n')
        await response.write(b"".join(frames) if kind == "error" else frames[0])
        for one in frames[1:] if kind != "error" else ():
            await response.write(one)
        if kind == "cut":
            return response
        await response.write(frame({}, reason))
        await response.write(f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def answer(kind, last):
    message, reason = {"role": "assistant", "content": f'echo "{last["content"]}" and more'}, "stop"
    if kind in ("calls", "no-ids", "calls-first") and last["role"] == "user":
        calls = [call("call_1", "the sea"), call("call_2", "the sky")]
        message, reason = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        if kind == "calls-first":
            message["content"] = "I look."
        if kind == "no-ids":
            message["tool_calls"] = [{**c, "id": ""} for c in calls]
    if kind == "long":
        reason = "length"
    if kind == "odd":
        message["tool_calls"] = [{"id": "x"}]
    if kind == "says-nothing":
        message["content"] = ""
    if kind == "refuses":
        message = {"role": "assistant", "content": "", "refusal": "I must not."}
    return message, reason


def deltas(message, *, calls_first=False):
    calls, texts = [], []
    for index, one in enumerate(message.get("tool_calls") or ()):
        function = one.get("function", {"name": "", "arguments": ""})
        head = {**one, "index": index, "function": {"name": function["name"], "arguments": ""}}
        half = len(function["arguments"]) // 2
        pieces = [
            {"index": index, "function": {"arguments": a}}
            for a in (function["arguments"][:half], function["arguments"][half:])
        ]
        calls += [{"tool_calls": [piece]} for piece in (head, *pieces)]
    if content := message["content"]:
        words = content.split(" ")
        texts = [{"content": w} for w in [words[0], *(f" {w}" for w in words[1:])]]
    if refusal := message.get("refusal"):
        texts.append({"refusal": refusal})
    return [{"role": "assistant"}, *([*calls, *texts] if calls_first else [*texts, *calls])]


def frame(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'theirs', 'choices': [choice]})}\n\n".encode()


class Retrieval:
    """What retrieval answers: one chunk for a question about the sea, else nothing; the first four letters cite it."""

    def __init__(self):
        self.call = self

    async def remote(self, method, *args):
        if method == "attribute":
            return Attribution((CITED,), (TextSpan(5, 8),))
        return [CHUNK] if "sea" in args[2] else []


CHUNK = Hit("c", "file-1", "sea.md", "Sea", "", "The sea is deep.", 0, 16, None, 0.9, 0.9, 0.0)


CITED = Citation(0, 4, "file-1", "sea.md", "Sea", "The sea is deep.", Position(0, 16, None), 0.9)


class World:
    def __init__(self, up, engine, sdk, http):
        self.up, self.engine, self.sdk, self.http = up, engine, sdk, http

    def ask(self, input="hi", model="echo", stream=False, **more):
        """Returns the response that OpenAI's client reads, whole or from the last event of a stream."""
        if not stream:
            return self.sdk.responses.create(model=model, input=input, **more)
        return self.events(input, model, **more)[-1].response

    def events(self, input="hi", model="echo", **more):
        events = list(self.sdk.responses.create(model=model, input=input, stream=True, **more))
        assert [e.sequence_number for e in events] == list(range(len(events)))
        return events

    def shown(self):
        return [(m["role"], m.get("content")) for m in self.engine.prompt]


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


HI = {"role": "user", "content": "hi"}
