"""A gateway before scripted engines, for tests of the Messages API."""

from __future__ import annotations

import json

from aiohttp import web

from tests.contract.inference.responses import scripted
from tests.contract.inference.responses.scripted import USAGE, frame

MODELS = [*scripted.MODELS, "stops", "thinks", "unknown", "interleaved"]

TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}

PIECE = {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}


class Engine(scripted.Engine):
    """Further models: one says by which sequence it stopped, one thinks aloud, one reports no usage, and one goes on
    with a call after the next one.
    """

    async def chat(self, request):
        kind = (body := await request.json())["model"]
        if kind not in ("stops", "thinks", "unknown", "interleaved"):
            return await super().chat(request)
        self.asked.append(body)
        deltas = [{"role": "assistant"}]
        if kind == "thinks":
            deltas += [{"reasoning_content": "Hm"}, {"reasoning_content": "m."}]
        deltas += [{"content": "a"}, {"content": "b"}]
        if kind == "interleaved":
            for index in (0, 1):
                call = {"index": index, "id": f"call_{index}", "function": {"name": "look", "arguments": "{}"}}
                deltas.append({"tool_calls": [call]})
            deltas.append(PIECE)
        usage = {} if kind == "unknown" else {"usage": USAGE}
        last = {"stop_reason": "END"} if kind == "stops" else {}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "ab"}
            message |= {"reasoning_content": "Hmm."} if kind == "thinks" else {}
            choice = {"index": 0, "message": message, "finish_reason": "stop", **last}
            return web.json_response({"choices": [choice], **usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(frame(delta) for delta in deltas))
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **last}]}
        await response.write(f"data: {json.dumps(end)}\n\n".encode())
        if usage:
            await response.write(f"data: {json.dumps({'choices': [], **usage})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


class World:
    def __init__(self, up, engine, sdk, http):
        self.up, self.engine, self.sdk, self.http = up, engine, sdk, http

    def ask(self, content="hi", model="echo", stream=False, **more):
        """Returns the message that Anthropic's client reads, whole or put together from a stream."""
        messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
        asked = {"model": model, "messages": messages, "max_tokens": 64, **more}
        if not stream:
            return self.sdk.messages.create(**asked)
        with self.sdk.messages.stream(**asked) as events:
            return events.get_final_message()

    def post(self, key=None, headers=None, path="/v1/messages", **body):
        """Sends a message as it is, by default one that is answered."""
        asked = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, **body}
        given = {"Idempotency-Key": key} if key is not None else {}
        return self.http.post(path, json=asked, headers={**given, **(headers or {})})

    def events(self, **body):
        """Returns the events of a stream, each checked to have the name of its type."""
        text = self.post(stream=True, **body).text
        found = []
        for block in text.removesuffix("\n\n").split("\n\n"):
            event, data = block.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert found[-1]["type"] == event.removeprefix("event: ")
        return found

    def refused(self, **body):
        """Returns the status and the error of a message that is refused, in Anthropic's format."""
        answer = self.post(**body)
        told = answer.json()
        assert (told["type"], told["request_id"]) == ("error", answer.headers["request-id"])
        return answer.status_code, told["error"]

    def shown(self):
        return self.engine.prompt
