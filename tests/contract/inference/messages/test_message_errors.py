"""Errors of the Messages API: Anthropic's format, statuses that its client knows, and fields of the request."""

from __future__ import annotations

import anthropic
import httpx
import pytest

from serving.core.principal import SCOPES_OF, Principal
from serving.store.errors import StoreUnavailable
from tests.callers.identity import key_of
from tests.contract.inference.messages.scripted import TOOL

USER = {"role": "user", "content": "hi"}


def called(*ids):
    calls = [{"type": "tool_use", "id": id, "name": "look", "input": {}} for id in ids]
    return {"role": "assistant", "content": calls}


def results(*ids, before=()):
    blocks = [{"type": "tool_result", "tool_use_id": id, "content": "x"} for id in ids]
    return {"role": "user", "content": [*before, *blocks]}


def test_the_client_raises_its_own_errors(world):
    for error, asked in (
        (anthropic.NotFoundError, {"model": "none"}),
        (anthropic.BadRequestError, {"system": [{"type": "text", "text": "a", "txt": 1}]}),
        (anthropic.InternalServerError, {"model": "status-500"}),
    ):
        with pytest.raises(error) as refused:
            world.ask("hi", **asked)
        assert refused.value.body["type"] == "error"
        assert refused.value.request_id == refused.value.body["request_id"]
    stranger = anthropic.Anthropic(base_url=world.up.url, api_key="hr_" + "x" * 43, max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        stranger.messages.create(model="echo", max_tokens=8, messages=[USER])
    assert refused.value.body["error"]["type"] == "authentication_error"


def test_a_key_may_be_in_anthropics_header_on_these_routes_alone(world):
    asked = {"model": "counts", "messages": [USER]}
    with httpx.Client(base_url=world.up.url, headers={"x-api-key": world.up.key}) as http:
        assert http.post("/v1/messages", json=asked | {"max_tokens": 8}).status_code == 200
        assert http.post("/v1/messages/count_tokens", json=asked).json() == {"input_tokens": 1}
        assert http.post("/v1/chat/completions", json=asked).status_code == 401
        assert http.get("/v1/models").status_code == 401
        wrong = http.post("/v1/messages", json=asked, headers={"x-api-key": "hr_wrong"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
        both = http.post("/v1/messages", json=asked, headers={"Authorization": "Bearer hr_wrong"})
        assert both.status_code == 401, "the other header decides"
        none = http.post("/v1/messages", json=asked, headers={"x-api-key": ""})
        assert none.status_code == 401


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"max_tokens": None}, "max_tokens", "integer"),
        ({"max_tokens": 0}, "max_tokens", "greater"),
        ({"temprature": 1}, "temprature", "did you mean `temperature`?"),
        ({"temperature": 1.5}, "temperature", "less"),
        ({"top_k": 5}, "top_k", "top_p"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking", "Thinking cannot be set"),
        ({"stop_sequences": ["a"] * 5}, "stop_sequences", "4"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]", "Anthropic's own tools"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name", "pattern"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "there are no tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name", "not one of the tools"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [USER, {"role": "assistant", "content": "I"}]}, "messages[1].role", "no model here continues"),
        ({"messages": [USER, called("a"), USER]}, "messages[1].content[0].id", "no tool_result"),
        ({"messages": [USER, called("a")]}, "messages[1].content[0].id", "no tool_result"),
        ({"messages": [USER, called("a", "b"), results("a")]}, "messages[1].content[1].id", "no tool_result"),
        ({"messages": [USER, called("a", "a"), results("a")]}, "messages[1].content[1].id", "same id"),
        ({"messages": [USER, called("a"), results("a", "a")]}, "messages[2].content[1].tool_use_id", "no call"),
        ({"messages": [results("a")]}, "messages[0].content[0].tool_use_id", "no call"),
        (
            {"messages": [USER, called("a"), results("a", before=[{"type": "text", "text": "x"}])]},
            "messages[2].content[0].type",
            "before all other content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "a", "signature": ""}]}]},
            "messages[0].content[0].type",
            "role user has no block of the type thinking",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a/b"}}]}
                ]
            },
            "messages[0].content[0].source",
            "URLs are not fetched",
        ),
        ({"messages": [USER] * 13}, "messages", "More than 12 messages"),
        ({"system": "x" * 10_001}, "messages", "10000 characters"),
        ({"conversation": "conv_none"}, "conversation", "no such conversation"),
    ],
)
def test_wrong_requests_name_their_field(world, body, param, says):
    asked = len(world.engine.asked)
    status, error = world.refused(**body)
    assert (status in (400, 403, 404), error["param"]) == (True, param)
    assert says in error["message"]
    assert len(world.engine.asked) == asked


def test_instructions_need_their_scope_and_are_named(world):
    principal = Principal("default", "ada", "")
    key = world.up.loop.do(key_of(world.up.services, principal, scopes=SCOPES_OF["user"]))
    own = {"Authorization": f"Bearer {key}"}
    assert world.refused(model="closed", system="Be rude.", headers=own)[1]["param"] == "system"
    both = [USER, {"role": "system", "content": "Be rude."}]
    status, error = world.refused(model="closed", messages=both, headers=own)
    assert (status, error["param"], error["type"]) == (403, "messages[1].role", "permission_error")
    assert world.post(model="closed", headers=own).status_code == 200


def test_a_quota_that_is_reached_is_told_in_the_format(world):
    quota = {"subject": "model", "id": "thinks", "window": "day", "measure": "requests", "limit": 1}
    made = world.http.put("/v1/admin/quotas", json={"quotas": [quota]}).json()["data"][0]["quota_id"]
    world.post(model="thinks")
    status, error = world.refused(model="thinks")
    world.http.delete("/v1/admin/quotas", params={"quota_id": made}).raise_for_status()
    assert (status, error["type"], error["code"]) == (429, "rate_limit_error", "insufficient_quota")


@pytest.mark.parametrize(
    ("sent", "status", "kind"),
    [
        ({"method": "GET"}, 405, "invalid_request_error"),
        ({"content": b"{"}, 400, "invalid_request_error"),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "invalid_request_error"),
        ({"content": b" " * 8_000_001}, 413, "request_too_large"),
        ({"headers": {"x-request-id": "a b"}}, 400, "invalid_request_error"),
    ],
)
def test_errors_before_the_body_is_read_have_the_format_too(world, sent, status, kind):
    answer = world.http.request(**{"method": "POST", "url": "/v1/messages", **sent})
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


@pytest.mark.parametrize("model", ["cut", "error", "odd", "interleaved"])
def test_a_stream_that_breaks_off_ends_with_an_error(world, model):
    *_, last = world.events(model=model)
    assert (last["type"], last["error"]["type"], last["error"]["code"]) == ("error", "api_error", "engine_error")
    with pytest.raises(anthropic.APIStatusError, match=r"cut off|not a chat message"):
        world.ask("hi", model, stream=True)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_message_that_cannot_be_stored_does_not_look_complete(world, monkeypatch, stream):
    async def fail(*args, **more):
        raise StoreUnavailable

    monkeypatch.setattr(world.up.services.captures, "record", fail)
    answer = world.post(stream=stream)
    assert "unavailable" in answer.text
    assert "message_stop" not in answer.text
    assert answer.status_code == (200 if stream else 503)
