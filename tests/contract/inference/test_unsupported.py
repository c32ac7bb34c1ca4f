"""What becomes of text that no document supports, of small talk and of follow-ups, before a scripted engine."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from serving.config import Assistant, Catalog, LinksGuardrail, RemoteModel
from serving.retrieval.types import Attribution, Citation, Hit, Position, TextSpan
from tests.contract.running import Loop, engine, gateway

TEXT = "The sea is 42 m deep, says https://evil.example.com/x today."
CHUNK = Hit("c", "file-1", "sea.md", "Sea", "Depth", TEXT, 100, 100 + len(TEXT), None, 0.9, 0.9, 0.0)
QUOTE = f"{TEXT}\n\n— Sea › Depth"
TIDES = "Tides follow the moon. They are high twice a day. The harbour is deep."
PIECES = (
    Hit("t", "file-2", "tide.md", "Tides", "", TIDES, 10, 80, None, 0.9, 0.9, 0.0, ((0, 22), (50, 70))),
    Hit("c", "file-1", "sea.md", "Sea", "Depth", TEXT, 100, 100 + len(TEXT), None, 0.9, 0.9, 0.0, ()),
)
SHORT = "Tides follow the moon.\n\nThe harbour is deep.\n\n— Tides\n\n- Sea › Depth"
CITED = [  # the text that is cited, the file, and where in it that text is
    ("Tides follow the moon.", "Tides follow the moon.", "file-2", 10, 32),
    ("The harbour is deep.", "The harbour is deep.", "file-2", 60, 80),
    ("Sea › Depth", "Sea › Depth", "file-1", 100, 100 + len(TEXT)),
]
POLICIES = ("quote", "retry", "refuse")


class Engine:
    """Says what `says` has next, and keeps what it was asked."""

    def __init__(self):
        self.says, self.asked = [], []

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def chat(self, request):
        self.asked.append(await request.json())
        message = {"role": "assistant", "content": self.says.pop(0)}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"id": "theirs", "model": "theirs", "choices": [choice], "usage": usage})


class Retrieval:
    """Finds a chunk for the sea; supports answers that say 42, and no others."""

    def __init__(self):
        self.call = self
        self.asked = []

    async def remote(self, method, *args):
        if method == "attribute":
            answer, hits = args
            if "42" not in answer or not hits:
                return Attribution((), (TextSpan(0, len(answer)),))
            where = Position(hits[0].start, hits[0].end, None)
            return Attribution((Citation(0, len(answer), "file-1", "sea.md", "Sea", hits[0].text, where, 0.9),), ())
        _, assistant, question, _, *more = args
        before = more[0] if more else ""
        self.asked.append((question, before, assistant.context_tokens))
        if "tide" in question:
            return [*PIECES]
        return [CHUNK] if "sea" in f"{before} {question}" else []


class World:
    def __init__(self, up, engine, retrieval, http):
        self.up, self.engine, self.retrieval, self.http = up, engine, retrieval, http

    def ask(self, model, *says, content="How deep is the sea?", stream=False, messages=None, **more):
        """Returns the message and the usage that the caller is told of."""
        self.engine.says, self.engine.asked, self.retrieval.asked = list(says), [], []
        body = {"model": model, "messages": messages or [{"role": "user", "content": content}], **more}
        if not stream:
            document = self.http.post("/v1/chat/completions", json=body).raise_for_status().json()
            return document["choices"][0]["message"], document["usage"]
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        lines = self.http.post("/v1/chat/completions", json=body).raise_for_status().text.splitlines()
        assert lines[-2] == "data: [DONE]"
        frames = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        message = {"content": ""}
        for choice in (choice for frame in frames for choice in frame["choices"]):
            message["content"] += choice["delta"].get("content") or ""
            message |= {k: v for k, v in choice["delta"].items() if k != "content"}
        return message, frames[-1]["usage"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    loop, scripted, retrieval = Loop(), Engine(), Retrieval()
    with engine(loop, scripted.app()) as port:
        catalog = Catalog(
            models=(
                RemoteModel(name="bare", url=f"http://127.0.0.1:{port}/v1"),
                RemoteModel(name="tiny", url=f"http://127.0.0.1:{port}/v1", grounded=False),
            ),
            assistants=(
                *(
                    Assistant(name=kind, model="bare", knowledge=("docs",), unsupported=kind, refusal="I do not know.")
                    for kind in ("mark", *POLICIES)
                ),
                Assistant(
                    name="guarded",
                    model="bare",
                    knowledge=("docs",),
                    unsupported="quote",
                    guardrails=(LinksGuardrail(allow=("docs.example.com",)),),
                ),
                Assistant(name="curt", model="bare", knowledge=("docs",), small_talk="", refusal="I do not know."),
                Assistant(name="small", model="tiny", knowledge=("docs",)),
                Assistant(name="marked", model="tiny", knowledge=("docs",), unsupported="mark"),
            ),
        )
        with (
            gateway(loop, tmp_path_factory.mktemp("unsupported"), catalog, retrieval=retrieval) as up,
            up.client() as http,
        ):
            yield World(up, scripted, retrieval, http)
    loop.stop()


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both
def test_quotes_need_no_model(world, stream):
    message, usage = world.ask("quote", stream=stream)
    assert message["content"] == QUOTE
    [cited] = message["headrace"]["citations"]
    assert QUOTE[cited["start_index"] : cited["end_index"]] == cited["quote"] == TEXT
    assert (cited["position"]["start"], cited["support"]) == (100, 1.0)
    assert (message["headrace"]["unsupported"], message["headrace"]["retrieved"]) == ([], 1)
    assert message["annotations"][0]["url_citation"]["url"] == f"{world.up.url}/v1/files/file-1/content"
    assert world.engine.asked == []
    assert usage["total_tokens"] == 0


def cited(text, headrace):
    return [
        (
            text[c["start_index"] : c["end_index"]],
            c["quote"],
            c["file_id"],
            c["position"]["start"],
            c["position"]["end"],
        )
        for c in headrace["citations"]
    ]


@both
def test_an_answer_shows_sentences_and_names_the_other_passages(world, stream):
    message, _ = world.ask("quote", stream=stream, content="When is the tide?")
    assert message["content"] == SHORT
    assert cited(SHORT, message["headrace"]) == CITED
    assert message["headrace"]["unsupported"] == []
    urls = [a["url_citation"]["url"].removeprefix(world.up.url) for a in message["annotations"]]
    assert urls == [f"/v1/files/{id}/content" for _, _, id, _, _ in CITED]


@both
def test_nothing_found_says_when_files_are_still_being_read(world, stream):
    """Nothing ingests files here, so what is attached stays unread."""
    ask = {"content": "Where is the harbour?", "stream": stream}
    assert world.ask("quote", **ask)[0]["content"] == "I do not know."
    body = {"name": "docs", "metadata": {"managed_by": "headrace"}}
    store = world.http.post("/v1/vector_stores", json=body).raise_for_status().json()["id"]
    try:
        for number, said in enumerate(("1 file is", "2 files are")):
            upload = {"files": {"file": (f"{number}.md", b"# Harbour")}, "data": {"purpose": "assistants"}}
            file = world.http.post("/v1/files", **upload).json()["id"]
            world.http.post(f"/v1/vector_stores/{store}/files", json={"file_id": file}).raise_for_status()
            answer = world.ask("quote", **ask)[0]["content"]
            assert answer == f"I do not know. {said} still being read: ask again in a moment."
        assert world.ask("quote", stream=stream)[0]["content"] == QUOTE
    finally:
        world.http.delete(f"/v1/vector_stores/{store}").raise_for_status()


@both
def test_nothing_found_in_a_named_store_says_so_too(world, stream):
    store = world.http.post("/v1/vector_stores", json={"name": "own"}).raise_for_status().json()["id"]
    file = world.http.post("/v1/files", files={"file": ("a.md", b"# A")}, data={"purpose": "assistants"}).json()["id"]
    world.http.post(f"/v1/vector_stores/{store}/files", json={"file_id": file}).raise_for_status()
    ask = {"content": "Where is the harbour?", "stream": stream, "knowledge": {"vector_store_ids": [store]}}
    assert "1 file is still being read" in world.ask("small", **ask)[0]["content"]


def events(answer):
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


@both
def test_citations_of_sentences_are_the_same_on_other_routes(world, stream):
    conversation = world.http.post("/v1/conversations", json={}).json()["id"]
    body = {"model": "quote", "input": "When is the tide?", "conversation": conversation, "stream": stream}
    answer = world.http.post("/v1/responses", json=body).raise_for_status()
    response = events(answer)[-1]["response"] if stream else answer.json()
    content = response["output"][0]["content"][0]
    assert content["text"] == SHORT
    assert [SHORT[a["start_index"] : a["end_index"]] for a in content["annotations"]] == [c[0] for c in CITED]
    items = world.http.get(f"/v1/conversations/{conversation}/items", params={"include": "headrace"}).json()["data"]
    assert items[0]["content"][0]["text"] == SHORT
    assert cited(SHORT, items[0]["headrace"]) == CITED
    body = {"model": "quote", "max_tokens": 99, "messages": [{"role": "user", "content": "When is the tide?"}]}
    answer = world.http.post("/v1/messages", json=body | {"stream": stream}).raise_for_status()
    if stream:
        deltas = [event["delta"] for event in events(answer) if event["type"] == "content_block_delta"]
        text = "".join(delta.get("text", "") for delta in deltas)
        found = [delta["citation"] for delta in deltas if delta["type"] == "citations_delta"]
    else:
        [block] = answer.json()["content"]
        text, found = block["text"], block["citations"]
    assert text == SHORT
    assert [(c["cited_text"], c["source"]) for c in found] == [
        (quote, f"{world.up.url}/v1/files/{id}/content") for _, quote, id, _, _ in CITED
    ]


@both
@pytest.mark.parametrize(
    ("model", "says", "shown", "used"),
    [
        ("mark", ["It is green."], "It is green.", 15),
        ("refuse", ["It is 42 m."], "It is 42 m.", 15),
        ("refuse", ["It is green."], "I do not know.", 15),
        ("retry", ["It is green.", "It is 42 m."], "It is 42 m.", 30),
        ("retry", ["It is green.", "It is red.", "It is blue."], "I do not know.", 45),
    ],
)
def test_an_answer_without_support(world, stream, model, says, shown, used):
    streamed = stream and model != "mark"  # what is not held back the scripted engine would have to stream itself
    message, usage = world.ask(model, *says, stream=streamed, temperature=0)
    assert message["content"] == shown
    assert usage["total_tokens"] == used
    assert [body["temperature"] for body in world.engine.asked] == [0, 0.7, 0.7][: len(says)]
    assert bool(message["headrace"]["unsupported"]) == (model == "mark")
    assert bool(message["headrace"]["citations"]) == ("42" in shown)


@both
@pytest.mark.parametrize(("model", "shown"), [("quote", QUOTE), ("refuse", "I do not know."), ("mark", "7.")])
def test_a_strategy_answers_by_the_policy_too(world, stream, model, shown):
    message, _ = world.ask(model, "Six and one.\nThe answer is 7.", stream=stream, strategy="cot")
    assert message["content"] == shown
    assert message["headrace"]["strategy"] == "cot"
    assert bool(message["headrace"]["unsupported"]) == (model == "mark")
    message, _ = world.ask(model, "Deep.\nThe answer is 42.", stream=stream, strategy="cot")
    assert message["content"] == "42."


@pytest.mark.parametrize("model", POLICIES)
@pytest.mark.parametrize(
    "more",
    [{"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}}],
    ids=lambda more: next(iter(more)),
)
def test_options_that_require_unbuffered_output_are_rejected(world, model, more):
    body = {"model": model, "messages": [{"role": "user", "content": "How deep is the sea?"}], **more}
    error = world.http.post("/v1/chat/completions", json=body)
    assert error.status_code == 400
    assert error.json()["error"]["param"] == next(iter(more))


def test_quotes_pass_the_output_guardrails(world):
    message, _ = world.ask("guarded")
    assert "evil.example.com" not in message["content"]
    assert message["headrace"]["guardrails"][0]["check"] == "links"
    [cited] = message["headrace"]["citations"]
    assert cited["end_index"] == len(message["content"])
    message, _ = world.ask("guarded", content="When is the tide?", max_tokens=99)
    assert message["content"] == SHORT
    assert "evil.example.com" not in json.dumps(message)  # nor in the quote of a passage that is only named


def test_quotes_are_no_longer_than_the_caller_wants(world):
    for asked, budget in ((50, 50), (100_000, 700)):
        world.ask("quote", max_tokens=asked)
        assert [tokens for _, _, tokens in world.retrieval.asked] == [budget]


@both
@pytest.mark.parametrize("model", ["quote", "mark"])
def test_small_talk_is_answered_without_a_search(world, stream, model):
    message, usage = world.ask(model, content="Thanks a lot!", stream=stream)
    assert message["content"].startswith("Happy to help!")
    assert message["headrace"]["citations"] == message["headrace"]["unsupported"] == message["annotations"] == []
    assert (world.engine.asked, world.retrieval.asked, usage["total_tokens"]) == ([], [], 0)
    assert world.ask("curt", content="Thanks a lot!")[0]["content"] == "I do not know."


def test_a_yes_to_a_model_that_has_functions_is_no_small_talk(world):
    tool = {"type": "function", "function": {"name": "cancel_order", "parameters": {"type": "object"}}}
    said = [("user", "How deep is the sea?"), ("assistant", "Shall I measure it?"), ("user", "Yes please")]
    messages = [{"role": role, "content": text} for role, text in said]
    world.ask("mark", "It is 42 m.", messages=messages, tools=[tool])
    assert [asked["tools"] for asked in world.engine.asked] == [[tool]]


def test_a_follow_up_is_searched_with_the_question_before(world):
    said = [("user", "How deep is the sea?"), ("assistant", "42 m."), ("user", "Thanks!"), ("assistant", "Welcome.")]
    messages = [{"role": role, "content": text} for role, text in [*said, ("user", "And how wide?")]]
    message, _ = world.ask("quote", messages=messages)
    assert world.retrieval.asked == [("And how wide?", "How deep is the sea?", 700)]
    assert message["content"] == QUOTE


def test_follow_ups_use_the_previous_question(world):
    conversation = world.http.post("/v1/conversations", json={}).json()["id"]
    for content in ("How deep is the sea?", "Thanks!"):
        world.ask("quote", content=content, conversation=conversation)
    message, _ = world.ask("quote", content="And how wide?", conversation=conversation)
    assert world.retrieval.asked == [("And how wide?", "How deep is the sea?", 700)]
    assert message["headrace"]["memory"]["left_out"] == 2
    first = world.http.post("/v1/responses", json={"model": "quote", "input": "How deep is the sea?"}).json()
    body = {"model": "quote", "input": "And how wide?", "previous_response_id": first["id"]}
    assert world.http.post("/v1/responses", json=body).json()["output"][0]["content"][0]["text"] == QUOTE


@pytest.fixture(scope="module")
def store(world):
    return world.http.post("/v1/vector_stores", json={"name": "sea"}).json()["id"]


@both
@pytest.mark.parametrize(
    ("model", "unsupported", "shown"),
    [
        ("bare", None, "It is green."),
        ("bare", "quote", QUOTE),
        ("bare", "refuse", "I found nothing about this in the documents that I can read."),
        ("tiny", None, QUOTE),
        ("tiny", "mark", "It is green."),
        ("curt", "quote", QUOTE),
        ("small", None, QUOTE),
        ("marked", None, "It is green."),
    ],
)
def test_a_request_says_what_becomes_of_answers_from_its_documents(world, store, stream, model, unsupported, shown):
    stream = stream and shown != "It is green."  # which the scripted engine would have to stream itself
    knowledge = {"vector_store_ids": [store]} | ({"unsupported": unsupported} if unsupported else {})
    message, usage = world.ask(model, "It is green.", stream=stream, knowledge=knowledge)
    assert message["content"] == shown
    assert (world.engine.asked == []) == (shown == QUOTE) == (usage["total_tokens"] == 0)
    tool = {"type": "file_search", **knowledge}
    if not stream:
        world.engine.says = ["It is green."]
        body = {"model": model, "input": "How deep is the sea?", "tools": [tool]}
        answer = world.http.post("/v1/responses", json=body).raise_for_status().json()
        assert answer["output"][-1]["content"][0]["text"] == shown
        told = world.http.post("/v1/responses/input_tokens", json=body)
        assert shown != QUOTE or told.json()["input_tokens"] == 0


def test_an_assistant_of_the_api_has_the_same_settings(world, store):
    settings = {"model": "bare", "vector_store_ids": [store], "context_tokens": 300, "max_num_results": 2}
    made = world.http.post("/v1/assistants", json={"name": "sailor", "unsupported": "quote", **settings}).json()
    assert made["unsupported"] == "quote"
    assert world.ask("sailor")[0]["content"] == QUOTE
    versions = f"/v1/assistants/{made['id']}/versions"
    world.http.post(versions, json={"unsupported": "refuse", "refusal": "No idea.", **settings}).raise_for_status()
    assert world.ask("sailor", "It is green.")[0]["content"] == "No idea."
    world.http.post(versions, json=settings | {"model": "tiny"}).raise_for_status()
    assert world.ask("sailor")[0]["content"] == QUOTE
    refused = world.http.post(versions, json={"unsupported": "ignore", **settings})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "unsupported")


@pytest.mark.parametrize(("model", "given"), [("bare", 5000), ("mark", 700)])
def test_a_request_sets_the_length_of_passages_up_to_its_assistants(world, store, model, given):
    for asked, budget in ((60, 60), (5000, given)):
        knowledge = {"vector_store_ids": [store], "context_tokens": asked, "unsupported": "mark"}
        world.ask(model, "It is 42 m.", knowledge=knowledge)
        tokens = 80 if model == "bare" else 0  # of the marks around a bare model's passages
        assert [at for _, _, at in world.retrieval.asked] == [max(budget - tokens, budget // 2)]


def test_an_assistants_own_policy_stays(world, store):
    knowledge = {"vector_store_ids": [store], "unsupported": "mark"}
    body = {"model": "refuse", "messages": [{"role": "user", "content": "How deep is the sea?"}]}
    refused = world.http.post("/v1/chat/completions", json=body | {"knowledge": knowledge})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "knowledge.unsupported")


@pytest.mark.parametrize("more", [{"n": 2}, {"response_format": {"type": "json_object"}}], ids=["n", "format"])
def test_a_model_that_cannot_answer_is_still_asked_for_what_no_quote_is(world, store, more):
    world.ask("tiny", "{}", "{}", knowledge={"vector_store_ids": [store]}, **more)
    assert world.engine.asked != []
