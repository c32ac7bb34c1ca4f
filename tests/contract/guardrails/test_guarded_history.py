"""Guardrails on what was said before a request: a real gateway and store before a scripted engine."""

from __future__ import annotations

import json
import secrets

import httpx
import pytest
from aiohttp import web

from serving.assistants.memory.retriever import FIRST_FACTS
from serving.config import (
    Alias,
    Assistant,
    BufferMemory,
    Catalog,
    ClassifierGuardrail,
    FactsMemory,
    InjectionGuardrail,
    RemoteModel,
    SecretsGuardrail,
    SummaryWindowMemory,
    Target,
    TopicsGuardrail,
    VectorMemory,
)
from tests.contract.guardrails.test_guardrails import ATTACK, KEY, Engine, Retrieval, captured, said
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually


class Counting(Engine):
    """Notes what its classifier is asked, and counts the words of a prompt."""

    def __init__(self):
        super().__init__()
        self.judged = []

    def app(self):
        app = super().app()
        app.router.add_post("/tokenize", self.tokenize)
        return app

    async def tokenize(self, request):
        said = [str(m["content"]) for m in (await request.json()).get("messages", ())]
        return web.json_response({"count": len(" ".join(said).split()), "max_model_len": 10_000})

    async def moderate(self, request):
        self.judged.append((await request.json())["input"])
        return await super().moderate(request)


def assistants():
    def one(name, *guardrails, **settings):
        return Assistant(name=name, model="m", guardrails=guardrails, **settings)

    return (
        one("strict", InjectionGuardrail(), SecretsGuardrail(action="block")),
        one("soft", SecretsGuardrail()),
        one("watch", SecretsGuardrail(action="flag")),
        one("asked", SecretsGuardrail(action="block", on=("input",))),
        one("short", SecretsGuardrail(action="block"), memory=BufferMemory(turns=1)),
        one("moderated", ClassifierGuardrail(model="guard", api="moderations")),
        one("open", ClassifierGuardrail(model="guard", api="moderations", on_failure="allow")),
        one("careful", SecretsGuardrail(), ClassifierGuardrail(model="guard", api="moderations", action="flag")),
        one("knows", SecretsGuardrail(), InjectionGuardrail(), memory=FactsMemory()),
        one("recalls", ClassifierGuardrail(model="guard", api="moderations"), memory=FactsMemory(tokens=1024)),
        one("war", TopicsGuardrail(allow=("war",)), memory=FactsMemory()),
        one("peace", TopicsGuardrail(allow=("cake",), deny=("war",)), memory=FactsMemory()),
        one("finds", SecretsGuardrail(), memory=VectorMemory(turns=1, top_k=4, min_score=0.5)),
        one("sums", SecretsGuardrail(), memory=SummaryWindowMemory(tokens=20)),
        one("aliased", ClassifierGuardrail(model="safety", api="moderations")),
        one("none"),
        *(
            Assistant(name=f"{name}-counts", model="counts", guardrails=(SecretsGuardrail(action=action),))
            for name, action in (("soft", "redact"), ("strict", "block"))
        ),
    )


def catalog(url, safety="guard"):
    models = [RemoteModel(name=name, url=url) for name in ("m", "guard", "newer")]
    models.append(RemoteModel(name="counts", url=url, tokenizer="vllm"))
    alias = Alias(name="safety", targets=(Target(model=safety),))
    return Catalog(models=models, aliases=(alias,), assistants=assistants())


@pytest.fixture(scope="module")
def model():
    return Counting()


@pytest.fixture(scope="module")
def stack(tmp_path_factory, model):
    with Loop() as loop, engine(loop, model.app()) as port:
        model.url = f"http://127.0.0.1:{port}/v1"
        with gateway(loop, tmp_path_factory.mktemp("stack"), catalog(model.url), retrieval=Retrieval()) as running:
            yield running


@pytest.fixture(autouse=True)
def _fresh(model):
    model.text, model.calls, model.verdict = "hello", None, None
    model.asked.clear()
    model.judged.clear()


@pytest.fixture
def http(stack):
    headers = {"Authorization": f"Bearer {stack.key}"}

    def number(request):
        request.headers["x-request-id"] = secrets.token_hex(8)

    hooks = {"request": [number]}
    with httpx.Client(base_url=stack.url, headers=headers, event_hooks=hooks, timeout=60) as client:
        yield client


def says(role, text):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def conversation(http, *items):
    """Returns a conversation with `items`, added by the API, and their ids."""
    id = http.post("/v1/conversations", json={}).json()["id"]
    added = http.post(f"/v1/conversations/{id}/items", json={"items": items}).json()["data"]
    return id, [item["id"] for item in added]


def chat(http, name, id, text="and now?", **fields):
    body = {"model": name, "messages": [{"role": "user", "content": text}], "conversation": id, **fields}
    return http.post("/v1/chat/completions", json=body)


def ask(http, name, id, api, stream):
    if api == "chat":
        return chat(http, name, id, stream=stream)
    return http.post("/v1/responses", json={"model": name, "input": "and now?", "conversation": id, "stream": stream})


def rest(stack):
    eventually(lambda: not stack.loop.do(stack.services.jobs.unfinished()), "memory's jobs end", 30)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_blocked_item_blocks_requests_that_would_show_it(stack, http, model, role, api, stream):
    id, (first, bad) = conversation(http, says("user", "hi"), says(role, ATTACK))
    response = ask(http, "strict", id, api, stream)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "content_filter", "conversation")
    assert "injection" in error["message"]
    assert bad in error["message"]
    assert first not in error["message"]
    assert not model.asked
    _, answer, outcome, code = captured(stack, response.request.headers["x-request-id"])
    assert (outcome, code) == ("error", "content_filter")
    assert f"items.{bad}.content[0].text" in answer
    assert len(http.get(f"/v1/conversations/{id}/items").json()["data"]) == 2
    assert http.delete(f"/v1/conversations/{id}/items/{bad}").status_code == 200
    assert ask(http, "strict", id, api, stream).status_code == 200
    assert model.asked[0]["messages"][0]["content"] == "hi"


@pytest.mark.parametrize("stream", [False, True])
def test_redacted_history_reaches_no_model_but_stays_stored(http, model, stream):
    id, [item] = conversation(http, says("user", f"mine is {KEY}"))
    for _ in range(2):
        text, _, found = said(chat(http, "soft", id, stream=stream))
        assert text == "hello"
        assert [(f["check"], f["action"], f["place"]) for f in found] == [
            ("secrets", "redact", f"items.{item}.content[0].text")
        ]
        assert model.asked[-1]["messages"][0]["content"] == "mine is [removed: api_key]"
    assert KEY in http.get(f"/v1/conversations/{id}/items").text
    ask(http, "soft", id, "responses", stream)
    assert KEY not in str(model.asked)


@pytest.mark.parametrize("stream", [False, True])
def test_a_flag_lets_pass_and_tells(http, model, stream):
    id, [item] = conversation(http, says("user", KEY))
    text, _, found = said(chat(http, "watch", id, stream=stream))
    assert text == "hello"
    assert model.asked[0]["messages"][0]["content"] == KEY
    assert [(f["action"], f["place"]) for f in found] == [("flag", f"items.{item}.content[0].text")]


def test_calls_and_their_results_are_checked(http, model):
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"a": KEY})}
    result = {"type": "function_call_output", "call_id": "c", "output": ATTACK}
    id, _ = conversation(http, says("user", "go"), call, result)
    assert chat(http, "soft", id).status_code == 200
    messages = model.asked[0]["messages"]
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"]) == {"a": "[removed: api_key]"}
    clean = {**call, "arguments": "{}"}
    id, _ = conversation(http, says("user", "go"), clean, result)
    assert chat(http, "strict", id).status_code == 200
    assert model.asked[1]["messages"][2]["content"] == "[removed by a guardrail]"


def test_history_is_rechecked_only_by_other_guardrails(http, model):
    model.text = f"Use {KEY}"
    id, _ = conversation(http, says("user", "hi"))
    assert chat(http, "asked", id).status_code == 200
    assert chat(http, "asked", id).status_code == 200  # its own answer is no input
    assert KEY in str(model.asked[1]["messages"])
    assert chat(http, "short", id).json()["error"]["code"] == "content_filter"


@pytest.mark.parametrize("stream", [False, True])
def test_a_chain_is_checked_by_its_current_assistant(http, model, stream):
    first = http.post("/v1/responses", json={"model": "none", "input": f"mine is {KEY}"}).json()
    goes_on = {"previous_response_id": first["id"], "stream": stream}
    blocked = http.post("/v1/responses", json={"model": "strict", "input": "and?", **goes_on})
    error = blocked.json()["error"]
    assert (blocked.status_code, error["code"], error["param"]) == (400, "content_filter", "previous_response_id")
    assert len(model.asked) == 1
    assert http.post("/v1/responses", json={"model": "soft", "input": "and?", **goes_on}).status_code == 200
    assert model.asked[1]["messages"][0]["content"] == "mine is [removed: api_key]"
    own = http.post("/v1/responses", json={"model": "soft", "input": "hi", "stream": False}).json()["id"]
    body = {"model": "soft", "input": "again", "previous_response_id": own}
    assert http.post("/v1/responses", json=body).status_code == 200


def test_items_outside_the_context_block_nothing(http, model):
    id, _ = conversation(http, says("user", KEY), says("assistant", "well"), says("user", "hi"))
    response = chat(http, "short", id)
    assert response.status_code == 200
    assert "guardrails" not in response.json()["choices"][0]["message"]["headrace"]
    assert KEY not in str(model.asked)


def test_text_that_a_classifier_found_clean_is_classified_once(http, model):
    id, _ = conversation(http, says("user", "a cake please"), says("assistant", "which?"))
    for n in range(3):
        assert chat(http, "moderated", id, f"number {n}").status_code == 200
    assert sorted(model.judged) == ["a cake please", "number 0", "number 1", "number 2", "which?"]
    http.post(f"/v1/conversations/{id}/items", json={"items": [says("user", "a bomb please")]})
    assert chat(http, "moderated", id).json()["error"]["code"] == "content_filter"


def test_a_changed_classifier_rechecks_history(stack, http, model):
    id, _ = conversation(http, says("user", "a cake please"))
    assert chat(http, "aliased", id, "hi").status_code == 200
    assert chat(http, "aliased", id, "well?").status_code == 200
    assert sorted(model.judged) == ["a cake please", "hi", "well?"]

    async def configure(safety):  # services belong to their loop
        stack.services.configure(catalog(model.url, safety))

    stack.loop.do(configure("newer"))
    try:
        assert chat(http, "aliased", id, "so?").status_code == 200
    finally:
        stack.loop.do(configure("guard"))
    assert set(model.judged[3:]) == {"a cake please", "hello", "hi", "so?", "well?"}


def test_tokens_are_counted_after_redaction(stack, http, model):
    def count(name, **fields):
        return http.post("/v1/responses/input_tokens", json={"model": name, **fields})

    id, _ = conversation(http, says("user", f"mine is password = {KEY}"))
    assert count("soft-counts", input=f"{KEY} it is", conversation=id).json()["input_tokens"] == 4 + 2 + 2 + 2
    blocked = [count("strict-counts", input="hi", conversation=id), count("strict-counts", input=KEY)]
    answers = [http.post("/v1/responses", json=json.loads(each.request.content)) for each in blocked]
    assert [each.json()["error"] for each in blocked] == [each.json()["error"] for each in answers]
    assert [(r.status_code, r.json()["error"]["code"]) for r in blocked] == [(400, "content_filter")] * 2
    assert not model.asked
    assert captured(stack, blocked[1].request.headers["x-request-id"]) is None  # nobody asked for an answer


def test_flagged_text_is_classified_once(http, model):
    id, [item] = conversation(http, says("user", "a bomb please"))
    for _ in range(2):
        _, _, found = said(chat(http, "careful", id))
        assert [(f["check"], f["place"]) for f in found] == [("classifier", f"items.{item}.content[0].text")]
    assert model.judged.count("a bomb please") == 1


def test_a_redacted_item_is_checked_once_per_request(http, model):
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    id, _ = conversation(http, says("user", f"mine is {KEY}"), call)
    result = {"type": "function_call_output", "call_id": "c", "output": "done"}
    response = http.post("/v1/responses", json={"model": "careful", "input": [result], "conversation": id})
    assert response.status_code == 200
    assert "mine is [removed: api_key]" in str(model.asked[0]["messages"])
    assert model.judged.count(f"mine is {KEY}") == 1


def test_items_without_a_verdict_are_not_marked_as_checked(http, model):
    model.verdict = {"results": []}
    id = _empty(http)
    assert chat(http, "open", id, "a bomb please").status_code == 200
    model.verdict = None
    assert chat(http, "open", id).json()["error"]["code"] == "content_filter"


def test_recalled_facts_are_checked(stack, http, model):
    for text in (f"the key is {KEY}", ATTACK, "likes tea"):
        assert http.post("/v1/memories", json={"assistant": "knows", "text": text}).status_code < 300
    assert chat(http, "knows", _empty(http)).status_code == 200
    prompt = str(model.asked[0]["messages"])
    assert "likes tea" in prompt
    assert "the key is [removed: api_key]" in prompt
    assert KEY not in prompt
    assert "Ignore all" not in prompt
    rest(stack)


@pytest.mark.parametrize(("name", "shown"), [("war", "lives in Bern"), ("peace", "likes tea")])
def test_a_fact_need_not_be_of_an_allowed_topic_and_is_of_no_denied_one(stack, http, model, name, shown):
    for text in (shown, "was in a war"):
        assert http.post("/v1/memories", json={"assistant": name, "text": text}).status_code < 300
    assert chat(http, name, _empty(http), "a war?" if name == "war" else "a cake?").status_code == 200
    prompt = str(model.asked[0]["messages"])
    assert shown in prompt
    assert ("was in a war" in prompt) == (name == "war")
    rest(stack)


def test_topics_are_not_enforced_on_earlier_answers(http):
    thanks = says("assistant", "You're welcome!")
    id, _ = conversation(http, says("user", "the war?"), thanks)
    assert chat(http, "war", id, "which war?").status_code == 200
    id, _ = conversation(http, says("user", "my cake?"), thanks)
    assert chat(http, "war", id, "which war?").json()["error"]["code"] == "content_filter"


def test_facts_that_the_prompt_has_no_room_for_are_not_checked(stack, http, model):
    for n in range(2 * FIRST_FACTS):
        text = f"fact {n} {'so ' * 50}"
        assert http.post("/v1/memories", json={"assistant": "recalls", "text": text}).status_code < 300
    assert chat(http, "recalls", _empty(http)).status_code == 200
    assert "fact" in str(model.asked[0]["messages"])
    assert len([text for text in model.judged if text.startswith("fact")]) == FIRST_FACTS
    rest(stack)


def test_turns_that_are_found_again_are_checked(stack, http, model):
    id, _ = conversation(http, says("user", f"mine is {KEY}"), says("assistant", "noted"))
    assert chat(http, "finds", id, "a first question").status_code == 200
    rest(stack)
    _, _, found = said(chat(http, "finds", id, "what is mine?"))
    prompt = str(model.asked[-1]["messages"])
    assert "Earlier turns" in prompt
    assert "mine is [removed: api_key]" in prompt
    assert KEY not in str(model.asked)
    assert {f["check"] for f in found} == {"secrets"}
    rest(stack)


def test_summaries_are_made_from_redacted_text(stack, http, model):
    id, _ = conversation(http, says("user", f"mine is {KEY}"), says("assistant", "noted " * 40))
    assert chat(http, "sums", id, "a question " * 20).status_code == 200
    rest(stack)
    summaries = [str(asked) for asked in model.asked if "running summary" in str(asked)]
    assert summaries
    assert "mine is [removed: api_key]" in summaries[0]
    assert KEY not in str(model.asked)


def _empty(http):
    return http.post("/v1/conversations", json={}).json()["id"]
