"""Instructions of callers: whoever lacks the scope `prompt` says nothing to a model that guardrails do not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.api.services import Services
from serving.config import (
    Assistant,
    Catalog,
    ClassifierGuardrail,
    InjectionGuardrail,
    PiiGuardrail,
    RemoteModel,
    TopicsGuardrail,
)
from serving.core.principal import SCOPES_OF, Principal
from tests.callers.identity import key_of
from tests.contract.guardrails.test_guardrails import ATTACK, Engine, Retrieval
from tests.contract.running import Gateway, Loop, engine, gateway

HI = {"role": "user", "content": "hi"}
ALL = SCOPES_OF["user"]


@pytest.fixture(scope="module")
def model() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Engine) -> Iterator[Gateway]:
    with Loop() as loop, engine(loop, model.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        strict = (InjectionGuardrail(), PiiGuardrail())
        catalog = Catalog(
            models=(RemoteModel(name="m", url=url), RemoteModel(name="guard", url=url)),
            assistants=(
                Assistant(name="closed", model="m", instructions="refuse", guardrails=()),
                Assistant(name="trusting", model="m", instructions="trust"),
                Assistant(name="peace", model="m", guardrails=(TopicsGuardrail(deny=("war",)),)),
                Assistant(name="judged", model="m", guardrails=(ClassifierGuardrail(model="guard"),)),
            ),
            guardrails=strict,
        )
        with gateway(loop, tmp_path_factory.mktemp("stack"), catalog, retrieval=Retrieval()) as running:
            yield running


def client(stack: Gateway, user: str, scopes: frozenset[str]) -> Iterator[httpx.Client]:
    key = stack.loop.do(key_of(stack.services, Principal("acme", user, ""), scopes=scopes))
    with httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def plain(stack: Gateway) -> Iterator[httpx.Client]:
    yield from client(stack, "ada", ALL)


@pytest.fixture(scope="module")
def builder(stack: Gateway) -> Iterator[httpx.Client]:
    yield from client(stack, "ada", ALL | {"prompt"})


@pytest.fixture(autouse=True)
def _fresh(model: Engine) -> None:
    model.text, model.calls, model.verdict = "hello", None, None
    model.asked.clear()


def chat(*messages: dict[str, Any], model: str = "m", **more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"model": model, "messages": list(messages), **more}


def response(model: str = "m", **more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"model": model, "input": "hi", **more}


def item(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def instructs(text: str, model: str = "m") -> dict[str, tuple[str, dict[str, Any]]]:
    """Every way to give a model instructions, by where they stand."""
    parts = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": text}]
    return {
        "messages[0].content": chat({"role": "system", "content": text}, HI, model=model),
        "messages[1].content": chat(HI, {"role": "developer", "content": text}, model=model),
        "messages[0].content[1].text": chat({"role": "system", "content": parts}, HI, model=model),
        "instructions": response(instructions=text, model=model),
        "input[0].content[0].text": response(input=[item("developer", text), item("user", "hi")], model=model),
        "input[1].content[0].text": response(input=[item("user", "hi"), item("system", text)], model=model),
    }


@pytest.mark.parametrize("place", instructs(""))
def test_instructions_are_read_as_text_of_the_user(
    plain: httpx.Client, builder: httpx.Client, model: Engine, place: str
) -> None:
    path, body = instructs(ATTACK)[place]
    refused = plain.post(path, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
    assert refused.json()["error"]["param"] == place
    assert model.asked == []
    assert builder.post(path, json=body).status_code == 200
    assert ATTACK in str(model.asked[0]["messages"])
    path, body = instructs("Be brief.")[place]
    assert plain.post(path, json=body).status_code == 200


@pytest.mark.parametrize(("assistant", "text"), [("peace", "Tell of the war."), ("judged", "Build a bomb.")])
@pytest.mark.parametrize("place", ["messages[0].content", "instructions"])
def test_models_judge_instructions_too(
    plain: httpx.Client, builder: httpx.Client, assistant: str, text: str, place: str
) -> None:
    path, body = instructs(text, assistant)[place]
    assert plain.post(path, json=body).json()["error"]["code"] == "content_filter"
    assert builder.post(path, json=body).status_code == 200


NAMED = {
    "messages[0].name": chat({**HI, "name": ATTACK[:64]}),
    "messages[0].content[0].file.filename": chat(
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "YQ==", "filename": ATTACK}}]}
    ),
    "messages[1].tool_calls[0].function.name": chat(
        HI,
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": ATTACK[:64], "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ),
    "input[0].content[0].filename": response(
        input=[{"role": "user", "content": [{"type": "input_file", "file_data": "YQ==", "filename": ATTACK}]}]
    ),
    "prompt[1]": ("/v1/completions", {"model": "m", "prompt": ["hi", ATTACK]}),
}


@pytest.mark.parametrize("place", NAMED)
def test_names_are_read_too(plain: httpx.Client, model: Engine, place: str) -> None:
    path, body = NAMED[place]
    error = plain.post(path, json=body).json()["error"]
    assert (error["code"], error["param"]) == ("content_filter", place)
    assert model.asked == []


def test_a_name_is_judged_by_no_model(plain: httpx.Client) -> None:
    path, body = chat({**HI, "name": "bomb"}, model="judged")
    assert plain.post(path, json=body).status_code == 200


@pytest.mark.parametrize("place", instructs(""))
def test_instructions_can_be_refused(plain: httpx.Client, builder: httpx.Client, model: Engine, place: str) -> None:
    path, body = instructs("Be brief.", "closed")[place]
    refused = plain.post(path, json=body)
    assert refused.status_code == 403
    error = refused.json()["error"]
    field = place if place == "instructions" else f"{place.partition('.')[0]}.role"
    assert (error["code"], error["param"]) == ("insufficient_scope", field)
    assert model.asked == []
    assert builder.post(path, json=body).status_code == 200
    path, body = chat(HI, model="closed")
    assert plain.post(path, json=body).status_code == 200


def test_stored_instructions_are_rejected_too(plain: httpx.Client, model: Engine) -> None:
    items = [item("system", "Be rude."), item("user", "hi")]
    conversation = plain.post("/v1/conversations", json={"items": items}).json()["id"]
    path, body = chat(HI, model="closed", conversation=conversation)
    refused = plain.post(path, json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "conversation")
    assert model.asked == []


def test_stored_instructions_are_rechecked_for_other_callers(
    plain: httpx.Client, builder: httpx.Client, model: Engine
) -> None:
    """One user's two keys."""
    first = builder.post("/v1/responses", json=response(input=[item("system", ATTACK), item("user", "hi")])[1])
    assert first.status_code == 200
    body = response(previous_response_id=first.json()["id"])[1]
    assert builder.post("/v1/responses", json=body).status_code == 200
    model.asked.clear()
    error = plain.post("/v1/responses", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("content_filter", "previous_response_id")
    assert model.asked == []


def test_the_configuration_can_trust_callers(plain: httpx.Client, model: Engine) -> None:
    path, body = chat({"role": "system", "content": ATTACK}, HI, model="trusting")
    assert plain.post(path, json=body).status_code == 200


def test_the_prompt_scope_must_be_granted_explicitly(stack: Gateway) -> None:
    """By somebody who has it."""
    services: Services = stack.services
    boss = stack.loop.do(key_of(services, Principal("acme", "boss", ""), role="admin"))
    with httpx.Client(base_url=stack.url, timeout=60) as http:
        admin, own = ({"Authorization": f"Bearer {key}"} for key in (boss, stack.key))
        asked = {"user": "boss", "scopes": ["inference", "prompt"]}
        assert "prompt" not in http.post("/v1/admin/keys", json={"user": "boss"}, headers=admin).json()["scopes"]
        refused = http.post("/v1/admin/keys", json=asked, headers=admin)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
        of = {"tenant": "acme"}
        unnamed = http.post("/v1/admin/keys", json={"user": "boss"}, headers=own, params=of)
        assert "prompt" not in unnamed.json()["scopes"]
        made = http.post("/v1/admin/keys", json=asked, headers=own, params=of).json()
        assert made["scopes"] == ["inference", "prompt"]
        me = http.get("/v1/me", headers={"Authorization": f"Bearer {made['key']}"}).json()
        assert me["scopes"] == ["inference", "prompt"]
