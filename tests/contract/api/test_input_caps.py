"""What one request may ask for: over each bound is a 400 or a 413 that names the field, in steps that are bounded."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import Message

from serving.api.http import MAX_FIELDS, read_json
from serving.api.http_error import status_of
from serving.api.http_exchange import HttpExchange
from serving.config import Catalog, Limits, RemoteModel
from serving.protocol import json_schema_limits
from serving.protocol.chat import ChatRequest, CompletionRequest
from serving.protocol.errors import ApiError
from serving.protocol.responses import ResponseRequest
from serving.protocol.vector_stores import EmbeddingRequest
from tests.contract.running import Loop, engine, gateway

LIMITS = Limits(body_bytes=2_000_000, messages=50, characters=20_000, json_containers=10_000)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def tool(schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


def answer_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def called(name: str, arguments: str = "") -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}


def recording(kind: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": "A", "format": kind}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


def chain(length: int, **more: Any) -> dict[str, Any]:
    """References that double at each step."""
    names = [f"#/$defs/{i}" for i in range(length)]
    parts = {str(i): {"allOf": [{"$ref": name}, {"$ref": name}]} for i, name in enumerate(names[1:])}
    return {"$defs": {**parts, str(length - 1): {}}, "$ref": names[0], **more}


def properties(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(count)}}


GOOD = {
    "a tree": {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "v": {"type": "integer"}}},
    "a list of references": {"items": [{"$ref": "#/$defs/a b"}], "$defs": {"a b": {"enum": ["x", None, 1]}}},
    "an escaped reference": {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "string"}}},
    "as deep as may be": nested(json_schema_limits.MAX_DEPTH),
    "as wide as may be": properties(json_schema_limits.MAX_PARTS - 1),
    "as many values as may be": {"enum": list(range(json_schema_limits.MAX_ENUM))},
    "a pattern": {"pattern": r"^(\d{3}-){2}[(){}\]]+(a|b(c{2}))*\($"},
    "any": {"properties": {"a": True, "b": False}},
    "a property called $ref": {"properties": {"$ref": {"type": "string"}, "enum": {"type": "string"}}},
}

BAD = {
    "one level too deep": nested(json_schema_limits.MAX_DEPTH + 1),
    "one property too many": properties(json_schema_limits.MAX_PARTS),
    "one value too many": {"enum": list(range(json_schema_limits.MAX_ENUM + 1))},
    "values of several enums": {"anyOf": [{"enum": list(range(600))}, {"enum": list(range(600))}]},
    "many types": {"type": ["string"] * 8},
    "too much text": {"description": "x" * json_schema_limits.MAX_CHARACTERS},
    "too much text in names": {"properties": {"x" * json_schema_limits.MAX_CHARACTERS: {}}},
    "too many values of a constant": {"const": [0] * json_schema_limits.MAX_CHARACTERS},
    "a reference to itself": {"$ref": "#"},
    "references in a ring": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}},
        "$ref": "#/$defs/a",
    },
    "a reference that stays where it is": {"properties": {"x": {"allOf": [{"not": {"$ref": "#/properties/x"}}]}}},
    "references that double": chain(25),
    "a reference to elsewhere": {"$ref": "https://example.com/schema.json"},
    "a reference to a file": {"items": {"$ref": "file:///etc/passwd"}},
    "a reference that leads nowhere": {"$ref": "#/$defs/none"},
    "a reference into a text": {"$ref": "#/title/0", "title": "x"},
    "a reference that is none": {"$ref": 5},
    "a long reference": {"$ref": "#/" + "a" * json_schema_limits.MAX_REFERENCE},
    "a dynamic reference": {"$dynamicRef": "#a"},
    "a long pattern": {"pattern": "a" * (json_schema_limits.MAX_PATTERN + 1)},
    "a deep pattern": {"pattern": "(" * 17 + "a" + ")" * 17},
    "a pattern that repeats": {"pattern": "^(a{50}b){50}$"},
    "a pattern that repeats once": {"pattern": "a{0,99999999999999999999}"},
    "a pattern with an open bracket": {"pattern": "(a"},
    "a pattern with a closed one": {"pattern": "a)"},
    "a pattern that is none": {"pattern": 5},
    "a pattern of names": {"patternProperties": {"(" * 17 + ")" * 17: {}}},
    "a huge length": {"type": "string", "minLength": 10**9},
    "a negative length": {"maxItems": -1},
    "a length that is none": {"maxItems": "x"},
    "properties that are none": {"properties": 5},
    "alternatives that are none": {"anyOf": {"a": {}}},
    "an enum that is none": {"enum": 5},
    "a part that is none": {"properties": {"a": "string"}},
}


def request(document: Any) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": orjson.dumps(document), "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError("reading a body sends nothing")

    scope = {"type": "http", "method": "POST", "headers": [], "headrace": HttpExchange("r", receive, send)}
    return Request(scope, receive)


async def refused(document: Any, model: Any = ChatRequest, limits: Limits = LIMITS) -> ApiError:
    with pytest.raises(ApiError) as error:
        await read_json(request(document), model, limits)
    return error.value


@pytest.mark.parametrize("name", GOOD)
async def test_schemas_within_the_limits_are_accepted_unchanged(name):
    body = await read_json(request(CHAT | {"response_format": answer_format(GOOD[name])}), ChatRequest, LIMITS)
    assert body.response_format.json_schema.schema_ == GOOD[name]


@pytest.mark.parametrize("name", BAD)
async def test_a_schema_out_of_bounds_is_a_400_in_every_field(name):
    for change, param in (
        ({"response_format": answer_format(BAD[name])}, "response_format.json_schema.schema"),
        ({"tools": [tool({}), tool(BAD[name])]}, "tools[1].function.parameters"),
    ):
        error = await refused(CHAT | change)
        assert (status_of(error), error.code, error.param) == (400, "invalid_value", param)
    response = {
        "model": "m",
        "input": "hi",
        "text": {"format": {"type": "json_schema", "name": "x", "schema": BAD[name]}},
    }
    assert (await refused(response, ResponseRequest)).param == "text.format.schema"
    response = {"model": "m", "input": "hi", "tools": [{"type": "function", "name": "f", "parameters": BAD[name]}]}
    assert (await refused(response, ResponseRequest)).param == "tools[0].parameters"


def response_with(*schemas: Any) -> dict[str, Any]:
    tools = [{"type": "function", "name": "f", "parameters": schema} for schema in schemas]
    return {"model": "m", "input": "hi", "tools": tools}


@pytest.mark.parametrize(
    ("model", "made"),
    [(ChatRequest, lambda *schemas: CHAT | {"tools": list(map(tool, schemas))}), (ResponseRequest, response_with)],
)
async def test_the_schemas_of_all_tools_are_bounded_together_and_walked_once_up_to_there(monkeypatch, model, made):
    monkeypatch.setattr(json_schema_limits, "_Walk", Counting)
    Counting.steps = 0
    wide = properties(json_schema_limits.MAX_PARTS - 1)
    most = [wide] * (json_schema_limits.MAX_PARTS_OF_TOOLS // json_schema_limits.MAX_PARTS)
    await read_json(request(made(*most)), model, LIMITS)
    assert Counting.steps == json_schema_limits.MAX_PARTS_OF_TOOLS
    for more in ([{}], [wide] * 4):
        Counting.steps = 0
        error = await refused(made(*most, *more), model)
        assert (status_of(error), error.param) == (400, "tools")
        assert str(json_schema_limits.MAX_PARTS_OF_TOOLS) in error.message
        assert Counting.steps == json_schema_limits.MAX_PARTS_OF_TOOLS + 1


def test_each_reference_is_resolved_once(monkeypatch):
    looked: list[str] = []
    target = json_schema_limits._target

    def counted(root: Any, reference: str) -> object:
        looked.append(reference)
        return target(root, reference)

    monkeypatch.setattr(json_schema_limits, "_target", counted)
    json_schema_limits.checked({"$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a"}] * 400})
    assert looked == ["#/$defs/a"]


@pytest.mark.parametrize(
    ("model", "change", "param"),
    [
        (ChatRequest, {"tools": [tool({})] * 129}, "tools"),
        (ChatRequest, {"stop": ["x" * 257]}, "stop"),
        (ChatRequest, {"stop": ["x"] * 5}, "stop"),
        (ChatRequest, {"n": 129}, "n"),
        (ChatRequest, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (ChatRequest, {"user": "x" * 513}, "user"),
        (ChatRequest, {"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        (ChatRequest, {"tool_choice": called("x" * 65)}, "tool_choice"),
        (ChatRequest, user(*[{"type": "text", "text": "x"}] * 1001), "messages[0].content"),
        (ChatRequest, user({"type": "image_url"}), "messages[0].content[0].image_url"),
        (ChatRequest, user(recording("x" * 17)), "messages[0].content[0].input_audio.format"),
        (ChatRequest, user({"type": "file", "file": {"filename": "x" * 257}}), "messages[0].content[0].file.filename"),
        (CompletionRequest, {"prompt": ["x"] * 65}, "prompt"),
        (CompletionRequest, {"prompt": "x", "logprobs": 6}, "logprobs"),
        (CompletionRequest, {"prompt": "x", "suffix": "y"}, "suffix"),
        (EmbeddingRequest, {"input": "x", "user": "x" * 513}, "user"),
    ],
)  # fmt: skip
async def test_a_field_over_its_bound_is_named(model, change, param):
    error = await refused((CHAT if model is ChatRequest else {"model": "m"}) | change, model)
    assert (status_of(error), error.param) == (400, param)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8265/",
        "https://example.com/cat.png",
        "HTTP://[::1]/",
        "file:///etc/passwd",
        "s3://bucket/key",
        "//example.com/x",
        " data:image/png;base64,AA",
        "data:image/png,AA",
        "data:text/html;base64,<b>",
        "data:image/png;base64,AA\n",
        "",
    ],
)
async def test_urls_in_requests_are_not_fetched(address):
    error = await refused(CHAT | user({"type": "image_url", "image_url": {"url": address}}))
    assert (status_of(error), error.param) == (400, "messages[0].content[0].image_url.url")
    for part in ({"type": "input_image", "image_url": address}, {"type": "input_file", "file_url": address}):
        error = await refused({"model": "m", "input": [{"role": "user", "content": [part]}]}, ResponseRequest)
        assert (status_of(error), error.param) == (400, f"input[0].content[0].{list(part)[1]}")


async def test_a_content_itself_is_taken():
    image = {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,QUE="}}
    body = await read_json(request(CHAT | user(image)), ChatRequest, LIMITS)
    assert body.messages[0].content[0].model_dump(exclude_none=True) == image


async def test_objects_and_lists_are_counted_before_parsing():
    error = await refused({"model": "m", "messages": [{}] * 10_000})
    assert (status_of(error), error.code) == (400, "invalid_json")
    assert "10000 objects and lists" in error.message


async def test_fields_are_counted_before_each_unknown_one_is_an_error(monkeypatch):
    monkeypatch.setattr(ChatRequest, "model_validate", None)
    many = {f"x{n}": 0 for n in range(MAX_FIELDS + 1)}
    for document in (CHAT | many, CHAT | {"messages": [CHAT["messages"][0] | many]}):
        error = await refused(document)
        assert (status_of(error), error.code) == (400, "invalid_json")
        assert f"{MAX_FIELDS} fields" in error.message


async def test_only_the_first_mistake_of_a_body_is_reported():
    """A body full of mistakes is not read to its end: each would be told of, at many times its size."""
    for model, field_name in ((ChatRequest, "messages"), (ResponseRequest, "input"), (EmbeddingRequest, "input")):
        with pytest.raises(ValidationError) as error:
            model.model_validate({"model": "m", field_name: [5] * 9000})
        assert error.value.error_count() <= 2  # it is no string either


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
words = st.sampled_from(
    ["$ref", "$defs", "allOf", "anyOf", "items", "properties", "patternProperties", "pattern", "enum", "not", "type"]
)
references = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/allOf/0", "#/x", "x"])
json_schemas = st.recursive(
    st.fixed_dictionaries({"$ref": references}) | st.just({}) | json_values,
    lambda inner: (
        st.fixed_dictionaries(
            {},
            optional={
                "allOf": st.lists(inner, max_size=3),
                "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
                "$defs": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
                "items": inner,
                "not": inner,
                "$ref": references,
                "pattern": st.text("a(){}[]\\,12", max_size=12),
            },
        )
        | st.dictionaries(words, inner, max_size=2)
    ),
    max_leaves=20,
)


class Counting(json_schema_limits._Walk):
    """Counts what a check of any schema walks through."""

    steps = 0

    def visit(self, *arguments: Any) -> None:
        Counting.steps += 1
        super().visit(*arguments)


@given(json_schemas)
def test_validating_any_schema_takes_bounded_steps(schema):
    Counting.steps = 0
    with pytest.MonkeyPatch.context() as patch, suppress(ValueError):
        patch.setattr(json_schema_limits, "_Walk", Counting)
        json_schema_limits.checked(schema)
    assert Counting.steps <= json_schema_limits.MAX_PARTS + 1


@pytest.mark.parametrize("part", [True, {}, {"pattern": "a" * 1000}])
def test_many_parts_that_are_referred_to_many_times_are_bounded_too(part):
    Counting.steps = 0
    schema = chain(12)
    schema["$defs"]["11"] = {"anyOf": [part] * 90}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="parts"):
        patch.setattr(json_schema_limits, "_Walk", Counting)
        json_schema_limits.checked(schema)
    assert Counting.steps == json_schema_limits.MAX_PARTS + 1


@pytest.fixture(scope="module")
def url_and_key(tmp_path_factory):
    async def chat(_: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "ok"}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}})

    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/v1/chat/completions", chat)
    with Loop() as loop, engine(loop, app) as port:
        catalog = Catalog(models=(RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", retries=0),))
        with gateway(loop, tmp_path_factory.mktemp("caps"), catalog, limits=LIMITS) as g:
            yield g.url, g.key


fields = st.sampled_from(
    ["messages", "input", "tools", "tool_choice", "response_format", "stop", "n", "top_logprobs", "logprobs",
     "metadata", "user", "conversation", "strategy", "approvals", "max_tokens", "seed", "text", "instructions",
     "stream_options"]
)  # fmt: skip
values = st.one_of(
    json_values,
    json_schemas.map(answer_format),
    json_schemas.map(lambda schema: {"format": {"type": "json_schema", "name": "x", "schema": schema}}),
    st.lists(json_schemas.map(tool), max_size=2),
    st.lists(json_values, max_size=3).map(lambda parts: [{"role": "user", "content": parts}]),
    st.sampled_from(["image_url", "input_audio", "file", "input_image", "input_file", "refusal"]).flatmap(
        lambda kind: json_values.map(lambda value: [{"role": "user", "content": [{"type": kind, kind: value}]}])
    ),
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(["chat/completions", "responses", "conversations", "embeddings", "completions"]),
       change=st.dictionaries(fields, values, max_size=3))  # fmt: skip
def test_no_request_makes_a_5xx(url_and_key, route, change):
    url, key = url_and_key
    base = {"chat/completions": CHAT, "conversations": {}}.get(route, {"model": "m", "input": "hi", "prompt": "hi"})
    if route == "embeddings":
        base = {"model": "none", "input": "hi"}
    try:
        body = orjson.dumps(base | change)
    except orjson.JSONEncodeError:
        return  # no JSON text has these
    answer = httpx.post(f"{url}/v1/{route}", content=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert 400 <= answer.status_code < 500, error
        assert set(error) == {"message", "type", "param", "code"}


def test_a_body_over_its_bound_is_a_413(url_and_key):
    url, key = url_and_key
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(
        f"{url}/v1/chat/completions", content=b"x" * (LIMITS.body_bytes + 1), headers=headers, timeout=60
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"messages": [{"role": "user", "content": "x"}] * 51}, "messages", "too_many_messages"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, "messages", "too_long"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [called("f", "x" * 20_001)]}]},
            "messages",
            "too_long",
        ),
        ({"n": 9}, "n", "invalid_value"),
    ],
)  # fmt: skip
def test_errors_name_the_exceeded_limit(url_and_key, change, param, code):
    url, key = url_and_key
    answer = httpx.post(
        f"{url}/v1/chat/completions", json=CHAT | change, headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert any(character.isdigit() for character in error["message"])
