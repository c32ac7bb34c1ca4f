"""Calls that a request requires of llama.cpp: what the engine is asked, and how its answer becomes a call."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from serving.engines import required_calls
from serving.engines.endpoint import Endpoint
from serving.engines.required_calls import CallResponse

LOOK = {
    "name": "look",
    "description": "Looks.",
    "parameters": {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/place"}},
        "$defs": {"place": {"type": "string"}},
    },
}
WAIT = {"name": "wait"}
TOOLS = [{"type": "function", "function": function} for function in (LOOK, WAIT)]
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "tool_choice": "required"}
NAMED = {"type": "function", "function": {"name": "wait"}}
HERE = Endpoint("http://x/v1", "m", {}, tokenizer="llamacpp")


@pytest.mark.parametrize(
    ("endpoint", "change", "expected"),
    [
        (HERE, {}, True),
        (HERE, {"tool_choice": NAMED}, True),
        (HERE, {"tool_choice": "auto"}, False),
        (HERE, {"tool_choice": "none"}, False),
        (HERE, {"tools": []}, False),
        (Endpoint("http://x/v1", "m", {}, tokenizer="vllm"), {}, False),
        (Endpoint("http://x/v1", "m", {}), {}, False),
    ],
)
def test_only_llamacpp_is_constrained_to_a_call(endpoint: Endpoint, change: dict[str, Any], expected: bool) -> None:
    assert required_calls.needed(endpoint, "/chat/completions", ASKED | change) is expected


def test_vllm_is_asked_for_strict_calls() -> None:
    endpoint = Endpoint("http://x/v1", "m", {}, tokenizer="vllm")
    sent = required_calls.as_strict_request(endpoint, "/chat/completions", ASKED)
    assert sent == ASKED | {"tools": [{**tool, "function": {**tool["function"], "strict": True}} for tool in TOOLS]}
    named = required_calls.as_strict_request(endpoint, "/chat/completions", ASKED | {"tool_choice": NAMED})
    assert [tool["function"].get("strict") for tool in named["tools"]] == [None, True]
    loose = [{"type": "function", "function": {**LOOK, "strict": False}}]
    assert required_calls.as_strict_request(endpoint, "/chat/completions", ASKED | {"tools": loose})["tools"] == loose
    free = ASKED | {"tool_choice": "auto"}
    assert required_calls.as_strict_request(endpoint, "/chat/completions", free) == free
    assert required_calls.as_strict_request(Endpoint("http://x/v1", "m", {}), "/chat/completions", ASKED) == ASKED


def alternatives(document: dict[str, Any]) -> dict[str, Any]:
    schema = required_calls.as_schema_request(document)["response_format"]["json_schema"]["schema"]
    parts = {f"#/$defs/{name}": part for name, part in schema["$defs"].items()}
    return {
        call["properties"]["name"]["const"]: parts[call["properties"]["arguments"]["$ref"]] for call in schema["anyOf"]
    }


def test_answers_are_constrained_to_allowed_functions() -> None:
    called = alternatives(ASKED)
    assert set(called) == {"look", "wait"}
    assert called["look"]["properties"]["at"] == {"$ref": "#/$defs/f0/$defs/place"}
    assert called["wait"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert set(alternatives(ASKED | {"tool_choice": NAMED})) == {"wait"}


def test_functions_are_described_in_the_first_instructions() -> None:
    sent = required_calls.as_schema_request(
        ASKED | {"temperature": 0, "response_format": {"type": "text"}, "logprobs": True}
    )
    assert set(sent) == {"model", "messages", "response_format", "temperature"}
    system, user = sent["messages"]
    assert (system["role"], user) == ("system", ASKED["messages"][0])
    assert '"look","description":"Looks."' in system["content"]
    both = required_calls.as_schema_request(ASKED | {"messages": [{"role": "system", "content": "Be brief."}, user]})[
        "messages"
    ]
    assert [m["role"] for m in both] == ["system", "user"]
    assert both[0]["content"] == f"Be brief.\n\n{system['content']}"


class Pieces:
    def __init__(self, body: bytes, size: int = 7) -> None:
        self._pieces = [body[i : i + size] for i in range(0, len(body), size)]

    async def readany(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


async def read(body: bytes, *, stream: bool) -> bytes:
    response = CallResponse(Pieces(body), stream)
    whole = await response.content.readany()
    assert await response.content.readany() == b""
    return whole


CALL = '{\n "name": "look", "arguments":\n {"at": "Ü \\"x\\""} }'


@pytest.mark.parametrize(
    ("content", "finish", "expected"),
    [
        (CALL, "stop", ("look", '{"at":"Ü \\"x\\""}', "tool_calls")),
        (CALL[: CALL.index(" \\")], "length", ("look", '{"at": "Ü', "length")),
        ('{"name": "look", "arg', "length", ("look", "", "length")),
        ('{"name": "lo', "length", None),
        ("", "length", None),
    ],
)
async def test_an_answer_becomes_the_call_that_it_is(
    content: str, finish: str, expected: tuple[str, str, str] | None
) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    answer = orjson.loads(await read(json.dumps({"choices": [choice], "usage": usage}).encode(), stream=False))
    frames = [{"id": "1", "choices": [{"index": 0, "delta": {"content": c}, "finish_reason": None}]} for c in content]
    frames += [
        {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {"choices": [], "usage": usage},
    ]
    said = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"
    *documents, end = (await read(said.encode(), stream=True)).decode().removeprefix("data: ").split("\n\ndata: ")
    assert end == "[DONE]\n\n"
    first, last, counted = map(json.loads, documents)
    assert answer["usage"] == counted["usage"] == usage
    assert last["choices"][0]["finish_reason"] == answer["choices"][0]["finish_reason"]
    for message in (answer["choices"][0]["message"], first["choices"][0]["delta"]):
        assert message["content"] is None
        if expected is None:
            assert "tool_calls" not in message
        else:
            (call,) = message["tool_calls"]
            found = (call["function"]["name"], call["function"]["arguments"], answer["choices"][0]["finish_reason"])
            assert found == expected


async def test_broken_answers_are_no_calls() -> None:
    cut = b'data: {"choices": [{"index": 0, "delta": {"content": "{"}}]}\n\n'
    assert await read(cut, stream=True) == b""
    error = b'{"error": {"message": "no"}}'
    assert await read(error, stream=False) == error
    assert orjson.loads((await read(b"data: " + error + b"\n\n", stream=True))[6:]) == orjson.loads(error)
