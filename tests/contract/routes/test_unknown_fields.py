"""What becomes of a misspelt field and of a model that is not there, by real requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from aiohttp import web

from serving.config import JUDGE, Catalog, Embedding, RemoteModel
from tests.contract.running import Gateway, Loop, engine, gateway
from tests.wait import eventually

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
UNSUPPORTED = {"reasoning_effort": "high", "top_k": 3}


@dataclass
class Engine:
    """Answers `ok`."""

    asked: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "text": "ok"}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "ok"}
            return web.json_response({"choices": [choice | {"message": message}], "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        frame = {"choices": [choice | {"delta": {"role": "assistant", "content": "ok"}}], "usage": usage}
        await response.write(b"data: " + json.dumps(frame).encode() + b"\n\ndata: [DONE]\n\n")
        return response


@dataclass
class World:
    engine: Engine
    strict: Gateway
    lenient: Gateway


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    scripted, app = Engine(), web.Application()
    for path in ("/v1/chat/completions", "/v1/completions"):
        app.router.add_post(path, scripted.answer)
    folders = [tmp_path_factory.mktemp(name) for name in ("strict", "lenient")]
    with Loop() as loop, engine(loop, app) as port:
        url = f"http://127.0.0.1:{port}/v1"
        catalog = Catalog(
            models=(
                RemoteModel(name="m", url=url),
                RemoteModel(name="embeds", url=url, task="embed", embedding=Embedding(dimensions=2)),
                RemoteModel(name="ranks", url=url, task="rerank"),
            )
        )
        with (
            gateway(loop, folders[0], catalog) as strict,
            gateway(loop, folders[1], catalog, drop_unsupported_params=True) as lenient,
        ):
            yield World(scripted, strict, lenient)


def post(up: Gateway, path: str, body: dict[str, Any]) -> httpx.Response:
    with up.client("/v1") as http:
        return http.post(path, json=body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", CHAT),
        ("/completions", {"model": "m", "prompt": "hi"}),
        ("/responses", {"model": "m", "input": "hi"}),
        ("/messages", CHAT | {"max_tokens": 8}),
        ("/assistants", {"name": "a", "model": "m"}),
    ],
)
def test_a_misspelt_field_is_refused_and_nothing_is_asked(world: World, path: str, body: dict[str, Any]) -> None:
    world.engine.asked.clear()
    answer = post(world.strict, path, body | {"temprature": 1})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unknown_parameter", "temprature")
    assert error["message"] == "There is no field `temprature` here; did you mean `temperature`?"
    assert world.engine.asked == []
    assert "headrace-dropped-params" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "dropped"),
    [
        ("/chat/completions", CHAT | UNSUPPORTED, "reasoning_effort, top_k"),
        ("/completions", {"model": "m", "prompt": "hi", "top_k": 3, "best_of": 4}, "best_of, top_k"),
        ("/responses", {"model": "m", "input": "hi", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        ("/messages", CHAT | {"max_tokens": 8, "top_k": 3, "thinking": {"type": "adaptive"}}, "thinking, top_k"),
    ],
)
def test_unsupported_fields_are_left_out_if_the_stack_says_so(
    world: World, path: str, body: dict[str, Any], dropped: str, stream: bool
) -> None:
    assert post(world.strict, path, body).status_code == 400
    world.engine.asked.clear()
    answer = post(world.lenient, path, body | {"stream": stream})
    assert answer.status_code == 200, answer.text
    assert sorted(answer.headers["headrace-dropped-params"].split(", ")) == dropped.split(", ")
    [asked] = world.engine.asked
    assert not asked.keys() & {"reasoning_effort", "reasoning", "top_k", "best_of"}


def test_only_requests_to_models_lose_fields(world: World) -> None:
    answer = post(world.lenient, "/assistants", {"name": "a", "model": "m", "temprature": 1})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "temprature")
    assert post(world.lenient, "/chat/completions", CHAT | {"temperature": 9}).status_code == 400


def test_a_thread_is_never_left_out(world: World) -> None:
    """Its messages are only the newest ones; and Anthropic's client knows by the details that it must send all."""
    asked = CHAT | {"max_tokens": 8, "thread": {"type": "continue", "previous_message_id": "msg_1"}}
    answer = post(world.lenient, "/messages", asked)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "thread")
    assert error["details"]["error_code"] == "thread_unsupported_request"


def test_many_left_out_fields_make_no_long_header(world: World) -> None:
    names = {f"{'n' * 60}{i}": 1 for i in range(1000)}
    answer = post(world.lenient, "/chat/completions", CHAT | names | {"a\r\nset-cookie: b": 1})
    assert answer.status_code == 200, answer.text
    told = answer.headers["headrace-dropped-params"].split(", ")
    assert (len(told), told[-1]) == (33, "...")
    assert "set-cookie" not in answer.headers


def test_lines_of_batches_name_what_was_left_out(world: World) -> None:
    client = world.lenient.sdk()
    bodies = [CHAT | UNSUPPORTED, CHAT]
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(bodies)
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", text), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    done = eventually(
        lambda: (found := client.batches.retrieve(batch.id)).output_file_id and found, "the batch has ended", 60
    )
    told = client.files.content(done.output_file_id).text.splitlines()
    answers = [json.loads(line)["response"]["body"] for line in told]
    assert sorted(answers[0]["headrace"]["dropped_params"]) == ["reasoning_effort", "top_k"]
    assert "dropped_params" not in (answers[1].get("headrace") or {})


CHATS = "`{}` {} and does not answer chats: use it with {}."


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/chat/completions", CHAT | {"model": "gone"}, "There is no model `gone` that you may call."),
        ("/chat/completions", CHAT | {"model": "a\nb\u202e"}, "There is no model `a?b?` that you may call."),
        ("/responses", {"model": "gone", "input": "x"}, "There is no model `gone` that you may call."),
        ("/assistants", {"name": "a", "model": "gone"}, "There is no model `gone` that you may call."),
        ("/embeddings", {"model": "gone", "input": "x"}, "There is no model `gone` that you may call."),
        ("/chat/completions", CHAT | {"model": JUDGE}, CHATS.format(JUDGE, "embeds texts", "/v1/embeddings")),
        ("/chat/completions", CHAT | {"model": "embeds"}, CHATS.format("embeds", "embeds texts", "/v1/embeddings")),
        ("/responses", {"model": "ranks", "input": "x"}, CHATS.format("ranks", "ranks documents", "/v1/rerank")),
        ("/assistants", {"name": "a", "model": JUDGE}, CHATS.format(JUDGE, "embeds texts", "/v1/embeddings")),
        ("/assistants", {"name": "a", "model": "ranks"}, CHATS.format("ranks", "ranks documents", "/v1/rerank")),
        (
            "/embeddings",
            {"model": "m", "input": "x"},
            "`m` answers chats and does not embed texts: use it with /v1/chat/completions or /v1/responses.",
        ),
        (
            "/rerank",
            {"model": JUDGE, "query": "x", "documents": ["x"]},
            f"`{JUDGE}` embeds texts and does not rank documents: use it with /v1/embeddings.",
        ),
    ],
)
def test_a_model_that_cannot_be_asked_is_named_with_the_reason(
    world: World, path: str, body: dict[str, Any], says: str
) -> None:
    answer = post(world.strict, path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert error["message"].endswith(says)


def test_models_that_are_listed_are_never_said_not_to_exist(world: World) -> None:
    for listed in world.strict.sdk().models.list():
        answer = post(world.strict, "/chat/completions", CHAT | {"model": listed.id})
        assert "There is no model" not in answer.text, listed.id
