"""The URLs of citations are absolute, by the name that each reader reaches the stack by; none of these is stored."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.contract.inference.responses.scripted import both
from tests.wait import eventually

QUESTION = "How deep is the sea?"
PATH = "/v1/files/file-1/content"
ELSEWHERE = {"host": "evil.example:444", "x-forwarded-proto": "https", "x-forwarded-host": "worse.example"}
THERE = f"https://evil.example:444{PATH}"


def urls(document):
    """Returns the URLs of all citations in a document."""
    if isinstance(document, dict):
        own = [document["url"]] if "url" in document and "end_index" in document else []
        return own + [url for value in document.values() for url in urls(value)]
    return [url for value in document for url in urls(value)] if isinstance(document, list) else []


def of_stream(text):
    frames = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [url for frame in frames for url in urls(json.loads(frame))]


def chat(stream, **more):
    return {"model": "reads-echo", "messages": [{"role": "user", "content": QUESTION}], "stream": stream, **more}


@both
def test_both_clients_get_urls_that_they_can_follow(world, stream):
    here = world.up.url + PATH
    response = world.ask(QUESTION, "reads-echo", stream)
    assert [a.url for a in response.output[0].content[0].annotations] == [here]
    body = chat(stream)
    if stream:
        last = [c for c in world.sdk.chat.completions.create(**body) if c.choices and c.choices[0].finish_reason][-1]
        [cited] = last.choices[0].delta.annotations
        assert cited["url_citation"]["url"] == here
    else:
        [cited] = world.sdk.chat.completions.create(**body).choices[0].message.annotations
        assert cited.url_citation.url == here


def test_the_name_of_one_request_is_in_nothing_that_is_stored(world):
    conversation = world.sdk.conversations.create().id
    made = {"model": "reads-echo", "input": QUESTION, "conversation": conversation}
    once = {"idempotency-key": "urls-1"}
    first = world.http.post("/v1/responses", json=made, headers={**ELSEWHERE, **once})
    assert urls(first.json()) == [THERE]
    assert int(first.headers["content-length"]) == len(first.content)
    here = [world.up.url + PATH]
    again = world.http.post("/v1/responses", json=made, headers=once)
    assert again.headers["idempotency-replayed"] == "true"
    assert urls(again.json()) == here
    assert urls(world.http.get(f"/v1/responses/{first.json()['id']}").json()) == here
    assert urls(world.http.get(f"/v1/conversations/{conversation}/items").json()) == here
    kept = world.http.post("/v1/chat/completions", json=chat(False, store=True), headers=ELSEWHERE)
    assert urls(kept.json()) == [THERE]
    assert urls(world.http.get(f"/v1/chat/completions/{kept.json()['id']}").json()) == here
    # As clients do that keep the conversation themselves.
    repeated = [{"role": "user", "content": QUESTION}, *first.json()["output"]]
    items = world.http.post(f"/v1/conversations/{conversation}/items", json={"items": repeated})
    assert urls(items.json()) == here
    asked = {"model": "reads-echo", "input": [*repeated, {"role": "user", "content": "And?"}]}
    response = world.http.post("/v1/responses", json=asked).raise_for_status().json()["id"]
    assert urls(world.http.get(f"/v1/responses/{response}/input_items").json()) == here
    file = world.up.services.config.store.database.removeprefix("sqlite:///")
    with sqlite3.connect(file) as database:
        content = "\n".join(database.iterdump())
    assert PATH in content
    for name in ("evil.example", "worse.example", world.up.url):
        assert name not in content


@both
def test_each_reader_of_a_background_response_has_its_own_urls(world, stream):
    """It is answered when no request of its caller is there."""
    made = {"model": "reads-echo", "input": QUESTION, "background": True, "stream": stream}
    begun = world.http.post("/v1/responses", json=made, headers=ELSEWHERE)
    if stream:
        assert set(of_stream(begun.text)) == {THERE}
        id = json.loads(begun.text.partition("data: ")[2].partition("\n")[0])["response"]["id"]
        followed = world.http.get(f"/v1/responses/{id}", params={"stream": "true"}).text
        assert set(of_stream(followed)) == {world.up.url + PATH}
        return
    path = f"/v1/responses/{begun.json()['id']}"
    eventually(lambda: world.http.get(path).json()["status"] == "completed", "it is answered")
    assert urls(world.http.get(path).json()) == [world.up.url + PATH]


@pytest.mark.parametrize(("route", "body"), [("responses", {"model": "reads-echo", "input": QUESTION}), ("chat", {})])
def test_a_resumed_stream_has_the_urls_of_its_reader(world, route, body):
    path = "/v1/chat/completions" if route == "chat" else "/v1/responses"
    body = chat(True) if route == "chat" else {**body, "stream": True}
    begun = world.http.post(path, json=body, headers={**ELSEWHERE, "headrace-resumable": "true"})
    assert set(of_stream(begun.text)) == {THERE}
    followed = world.http.get(f"/v1/streams/{begun.headers['headrace-stream']}").text
    assert set(of_stream(followed)) == {world.up.url + PATH}
    assert followed.replace(world.up.url, "https://evil.example:444") == begun.text
