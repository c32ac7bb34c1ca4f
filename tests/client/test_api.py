"""What an application developer does, with OpenAI's own SDK.

What needs the real model, its index or the way through HAProxy is asked each time; the rest, which a gateway alone
proves too, in the soak.
"""

from __future__ import annotations

import io
import json
import time
from itertools import pairwise

import httpx
import openai
import pytest

from tests.wait import eventually


@pytest.fixture(scope="module")
def sdk(stack):
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=120) as client:
        yield client


def ask(sdk, model, text, **options):
    return sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


@pytest.mark.soak
def test_models_are_assistants_aliases_and_models(sdk):
    names = {m.id for m in sdk.models.list()}
    assert {"docs", "default", "smollm2"} <= names
    assert sdk.models.retrieve("docs").id == "docs"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("nope")


def test_a_stream_ends_with_its_usage(sdk):
    chunks = list(
        ask(sdk, "default", "Count to five.", stream=True, max_tokens=24, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text
    assert {c.model for c in chunks} == {"default"}
    assert len({c.id for c in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    usage = chunks[-1].usage
    assert usage.prompt_tokens > 0
    assert 0 < usage.completion_tokens <= 24


def test_an_interrupted_stream_is_resumed(stack):
    """Any gateway can resume it."""

    def data(text):
        return [line for line in text.splitlines() if line.startswith("data: ")]

    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Name a heron."}], "max_tokens": 12}
    with stack.client(timeout=120) as client:
        with client.stream(
            "POST", "/v1/chat/completions", json=body | {"stream": True}, headers={"headrace-resumable": "true"}
        ) as answer:
            id = answer.headers["headrace-stream"]
            said = "".join(answer.iter_text())
        assert data(said)[-1] == "data: [DONE]"
        for _ in range(4):
            assert data(client.get(f"/v1/streams/{id}").text) == data(said)


def test_the_same_seed_gives_the_same_answer_streamed_or_not(sdk):
    options = {"seed": 7, "temperature": 0.8, "max_tokens": 16}
    whole = ask(sdk, "smollm2", "Name a colour.", **options).choices[0].message.content
    stream = ask(sdk, "smollm2", "Name a colour.", stream=True, **options)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == whole


def test_stop_n_and_logprobs_are_respected(sdk):
    answer = ask(sdk, "smollm2", "Count: 1, 2, 3", max_tokens=32, n=2, stop=["4"], logprobs=True, top_logprobs=2)
    assert len(answer.choices) == 2
    for choice in answer.choices:
        assert "4" not in choice.message.content
        assert choice.logprobs.content[0].top_logprobs
    tokens = [t.token for t in answer.choices[0].logprobs.content]
    assert "".join(tokens).startswith(answer.choices[0].message.content[:5])


def test_an_answer_follows_its_json_schema(sdk):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = ask(
        sdk,
        "smollm2",
        "The capital of France, as JSON.",
        max_tokens=64,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "capital", "schema": schema}},
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"city"}


def test_legacy_completions_are_answered(sdk):
    answer = sdk.completions.create(
        model="smollm2", prompt="The capital of France is", max_tokens=4, temperature=0, logprobs=2
    )
    assert "Paris" in answer.choices[0].text
    assert answer.choices[0].logprobs.tokens[0] == " Paris"
    stream = sdk.completions.create(model="smollm2", prompt="The capital of France is", max_tokens=4, stream=True)
    assert "".join(c.choices[0].text for c in stream if c.choices)


def test_embeddings_are_computed(sdk):
    both = sdk.embeddings.create(model="all-minilm-l6-v2", input=["a cat", "a kitten", "a bridge"])
    a, b, c = (e.embedding for e in both.data)
    assert len(a) == 384

    def dot(p, q):
        return sum(x * y for x, y in zip(p, q, strict=True))

    assert dot(a, a) == pytest.approx(1, abs=1e-3)
    assert dot(a, b) > dot(a, c)
    assert both.usage.total_tokens > 0


def settled(sdk, store, file):
    for _ in range(300):
        state = sdk.vector_stores.files.retrieve(file.id, vector_store_id=store.id)
        if state.status != "in_progress":
            return state
        time.sleep(0.2)
    raise AssertionError("the ingestion did not end")


def test_a_file_is_uploaded_searched_and_cited(sdk, stack):
    """The tour of a user: upload, attach, search, ask, follow the citation to the bytes, delete."""
    text = b"# Lantern rules\n\nThe lighthouse keeper of Orrin lights the lamp at nine in the evening.\n"
    file = sdk.files.create(file=("lantern.md", io.BytesIO(text)), purpose="assistants")
    documents = sdk.vector_stores.list()
    store = next(s for s in documents if s.name == "documents")
    sdk.vector_stores.files.create(vector_store_id=store.id, file_id=file.id)
    try:
        assert settled(sdk, store, file).status == "completed"
        found = sdk.vector_stores.search(store.id, query="When is the lamp of the lighthouse lit?", max_num_results=3)
        assert found.data[0].file_id == file.id
        question = "When does the lighthouse keeper of Orrin light the lamp?"
        answer = ask(sdk, "reader", question)
        message = answer.choices[0].message
        cited = [a.url_citation for a in message.annotations]
        # On a cluster they begin with the ingress's host, not with the address of this client.
        url = next(c.url for c in cited if c.url.endswith(f"/v1/files/{file.id}/content"))
        assert url.startswith(("http://", "https://"))
        for c in cited:
            assert 0 <= c.start_index < c.end_index <= len(message.content)
        quotes = message.model_extra["headrace"]["citations"]
        assert any("nine in the evening" in q["quote"] for q in quotes)
        position = quotes[0]["position"]
        assert position["end"] > position["start"] >= 0
        assert sdk.files.content(file.id).content == text

        chunks = list(ask(sdk, "reader", question, stream=True))
        last = [c for c in chunks if c.choices and c.choices[0].finish_reason][-1]
        extra = last.choices[0].delta.model_extra
        assert extra["annotations"][0]["url_citation"]["url"] == url
        assert extra["headrace"]["citations"]

        response = sdk.responses.create(
            model="reader", input="When does the lighthouse keeper of Orrin light the lamp?"
        )
        said = response.output[0].content[0]
        assert any(c.url == url for c in said.annotations), response
        assert all(0 <= c.start_index < c.end_index <= len(said.text) for c in said.annotations)
    finally:
        sdk.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(file.id)


def test_an_assistant_refuses_when_its_documents_do_not_answer(sdk):
    message = ask(sdk, "reader", "Who won the 1998 football world cup?").choices[0].message
    assert message.content.startswith("I found nothing")
    assert message.annotations == []


@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.soak), True])
def test_a_conversation_continues_across_requests(sdk, stream):
    """Each turn is stored when its answer ends, and the model is shown it with the next."""
    id = sdk.conversations.create(metadata={"topic": "herons"}).id
    for turn, text in enumerate(("My name is Ada.", "What is my name?")):
        answer = ask(sdk, "smollm2", text, max_tokens=16, stream=stream, extra_body={"conversation": id})
        last = list(answer)[-1].choices[0].delta if stream else answer.choices[0].message
        assert last.model_extra["headrace"]["memory"] == {"turns": turn, "left_out": 0}
        items = list(sdk.conversations.items.list(id, order="asc"))
        assert [i.role for i in items] == ["user", "assistant"] * (turn + 1)
        assert items[-2].content[0].text == text
    assert sdk.conversations.items.retrieve(items[0].id, conversation_id=id) == items[0]
    sdk.conversations.items.delete(items[0].id, conversation_id=id)
    assert sdk.conversations.update(id, metadata={}).metadata == {}
    assert len(sdk.conversations.items.list(id).data) == 3
    sdk.conversations.items.create(id, items=[{"role": "user", "content": "Goodbye."}])
    assert sdk.conversations.delete(id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.retrieve(id)
    with pytest.raises(openai.NotFoundError):
        ask(sdk, "smollm2", "x", max_tokens=1, extra_body={"conversation": id})


@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.soak), True])
def test_responses_continue_each_other(sdk, stream):
    """The tour of the Responses API: ask, go on, read what is kept, delete out of the middle."""
    ids = []
    for turn, text in enumerate(("My name is Ada.", "I live in Orrin.", "Who am I?")):
        previous = ids[-1] if ids else openai.omit
        asked = {"model": "smollm2", "input": text, "max_output_tokens": 16, "previous_response_id": previous}
        if stream:
            events = list(sdk.responses.create(**asked, stream=True))
            assert [e.sequence_number for e in events] == list(range(len(events)))
            response = events[-1].response
            assert events[-1].type == f"response.{response.status}"
            deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
            assert deltas == response.output_text
        else:
            response = sdk.responses.create(**asked)
        assert response.output_text
        assert response.status in ("completed", "incomplete")
        assert 0 < response.usage.output_tokens <= 16
        if turn:
            assert response.model_extra["headrace"]["memory"] == {"turns": turn, "left_out": 0}
        assert sdk.responses.retrieve(response.id).output == response.output
        assert [i.content[0].text for i in sdk.responses.input_items.list(response.id)] == [text]
        ids.append(response.id)
    sdk.responses.delete(ids[1])
    count = sdk.responses.input_tokens.count
    alone = count(model="smollm2", input="Go on.").input_tokens
    shorter, longer = (count(model="smollm2", input="Go on.", previous_response_id=id).input_tokens for id in ids[::2])
    assert alone < shorter < longer
    with pytest.raises(openai.BadRequestError):
        sdk.responses.cancel(ids[0])
    with pytest.raises(openai.NotFoundError):
        sdk.responses.create(model="smollm2", input="x", previous_response_id=ids[1])


@pytest.mark.soak
def test_a_response_in_a_conversation_with_a_schema(sdk):
    id = sdk.conversations.create().id
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    response = sdk.responses.create(
        model="smollm2",
        input="The capital of France, as JSON.",
        conversation=id,
        max_output_tokens=64,
        temperature=0,
        text={"format": {"type": "json_schema", "name": "capital", "schema": schema}},
    )
    assert set(json.loads(response.output_text)) == {"city"}
    assert next(i.id for i in sdk.conversations.items.list(id)) == response.output[0].id
    sdk.conversations.delete(id)


@pytest.mark.soak
def test_a_deleted_file_is_no_longer_found(sdk):
    file = sdk.files.create(file=("gone.md", b"# Gone\n\nThe vanishing marker is zyxomma."), purpose="assistants")
    store = sdk.vector_stores.create(name="short-lived", file_ids=[file.id])
    assert settled(sdk, store, file).status == "completed"
    assert sdk.vector_stores.search(store.id, query="vanishing marker").data
    sdk.files.delete(file.id)
    eventually(lambda: not sdk.vector_stores.search(store.id, query="vanishing marker").data, "it is found no more")
    sdk.vector_stores.delete(store.id)
    with pytest.raises(openai.NotFoundError):
        sdk.vector_stores.search(store.id, query="x")


@pytest.mark.soak
@pytest.mark.parametrize("stream", [False, True])
def test_a_strategy_answers_and_shows_its_steps(sdk, stream):
    """The smallest of models seldom writes a program that is right: what counts is that each one was run."""
    answer = ask(sdk, "smollm2", "What is 6 * 7?", max_tokens=48, stream=stream, extra_body={"strategy": "pal"})
    last = list(answer)[-1].choices[0].delta if stream else answer.choices[0].message
    steps = [step["kind"] for step in last.model_extra["headrace"]["steps"]]
    assert last.model_extra["headrace"]["strategy"] == "pal"
    assert set(steps) & {"program", "thought"}, steps
    assert all(after == "result" for step, after in pairwise(steps) if step == "program"), steps


@pytest.mark.soak
def test_an_answer_is_stored_and_rated(sdk, stack):
    answer = ask(sdk, "smollm2", "Name a heron.", max_tokens=8, store=True, metadata={"tour": "herons"})
    kept = sdk.chat.completions.retrieve(answer.id)
    assert kept.choices[0].message.content == answer.choices[0].message.content
    assert [c.id for c in sdk.chat.completions.list(metadata={"tour": "herons"})][-1] == answer.id
    assert sdk.chat.completions.messages.list(answer.id).data[0].content == "Name a heron."
    rating = {
        "id": f"rated-{answer.id}",
        "target": {"type": "response", "id": answer.id},
        "thumb": "down",
        "correction": "The grey heron.",
        "consent": True,
    }
    with httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}, timeout=60) as http:
        first, again = (http.post("/v1/feedback", json=rating).json() for _ in range(2))
        assert (first["thumb"], first["correction"], again) == ("down", "The grey heron.", first)
        assert http.post("/v1/feedback", json={**rating, "thumb": "up"}).status_code == 409
        assert [f["id"] for f in http.get("/v1/feedback", params={"target": answer.id}).json()["data"]] == [first["id"]]
        assert sdk.chat.completions.delete(answer.id).deleted
        assert http.get(f"/v1/feedback/{first['id']}").status_code == 404
