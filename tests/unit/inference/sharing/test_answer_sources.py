"""What an answer is known to be made from."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from serving.assistants.tools.tool import Toolbox
from serving.config import AppModel, Assistant, FactsMemory, React, SummaryMemory, TokenWindowMemory, VectorMemory
from serving.engines.router import Route
from serving.inference.apps.runs import AppRuns
from serving.inference.conversation_context import ChatTurn
from serving.inference.detached_exchange import DetachedExchange
from serving.inference.sharing.answer_sources import answer_sources
from serving.protocol.chat import ChatRequest
from serving.retrieval.types import Hit
from serving.store.apps.checkpoints import Thread
from tests.callers.identity import CALLER

ROUTE = Route("docs", Assistant(name="docs", model="m"), "m", "m")
PLAIN = replace(ROUTE, requested="m", assistant=None)


def hit(file: str, chunk: str) -> Hit:
    return Hit(chunk, file, "a.md", "A", "", "text", 0, 4, None, 0.9, 0.9, 0.0)


def chat(*roles: str) -> ChatRequest:
    messages = [{"role": role, "content": "Hi"} for role in roles]
    return ChatRequest.model_validate({"model": "m", "messages": messages})


def sources(route: Route = PLAIN, body: ChatRequest | None = None, strategy: Any = None, hits: Any = None) -> Any:
    return answer_sources(DetachedExchange("r", CALLER), body or chat("user"), strategy, hits, None, route)


def test_files_of_all_hits_and_the_assistant_are_sources() -> None:
    assert sources() == {"files": [], "answerers": ["model:m"]}
    assert sources(ROUTE, hits=[]) == {"files": [], "answerers": ["assistant:docs"]}
    hits = [hit("file-b", "1"), hit("file-a", "2"), hit("file-b", "3")]
    assert sources(hits=hits)["files"] == ["file-a", "file-b"]
    own = replace(ROUTE, requested="docs", own=True, assistant=Assistant(name="asst_1", model="m"))
    assert sources(own)["answerers"] == ["own:asst_1", "model:m"], "the id, since another can get the name"
    assert sources(replace(own, own=False))["answerers"] == ["assistant:asst_1"], "of the configuration"


def test_all_models_that_may_have_answered_are_sources() -> None:
    other = replace(PLAIN, alias="chat", model="b")
    alias = replace(PLAIN, requested="chat", alias="chat", model="a", alternatives=(other,))
    assert sources(alias)["answerers"] == ["model:a", "model:b", "model:chat"]


@pytest.mark.parametrize(
    ("tools", "known"),
    [(("calculator", "python", "time", "retrieval"), True), (("time", "web"), False), (("mcp-x",), False)],
)
def test_tools_that_ask_others_have_unknown_sources(tools: tuple[str, ...], known: bool) -> None:
    route = replace(ROUTE, tools=tools)
    assert (sources(route, strategy=React()) is not None) is known
    assert sources(route) is not None, "a direct answer calls no tool"


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_of_a_request_have_unknown_sources(role: str) -> None:
    assert sources(body=chat(role, "user")) is None
    assert sources(body=chat("user", "assistant", "user")) is not None, "these become items of their own"


@pytest.mark.parametrize(
    ("memory", "known"),
    [
        (FactsMemory(), False),
        (VectorMemory(scope="principal"), False),
        (VectorMemory(scope="conversation"), True),
        (SummaryMemory(), True),
        (TokenWindowMemory(), True),
    ],
)
def test_what_memory_recalled_from_other_conversations_is_an_unknown_source(memory: Any, known: bool) -> None:
    assistant = Assistant(name="docs", model="m", memory=memory)
    kept: Any = SimpleNamespace(attached=SimpleNamespace(characters=0), conversations=None)
    body = chat("user").model_copy(update={"conversation": "conv_1"})
    turn = ChatTurn(kept, CALLER, assistant, body, instructions="trust")
    x = DetachedExchange("r", CALLER)
    assert answer_sources(x, body, None, None, turn, ROUTE) is not None, "nothing is recalled yet"
    turn.noted = True
    assert (answer_sources(x, body, None, None, turn, ROUTE) is not None) is known


async def test_apps_and_their_requests_have_unknown_sources() -> None:
    app = AppModel(name="app", object="a:b", archive="")
    assert sources(replace(PLAIN, app=app)) is None
    async with AppRuns().opened(CALLER, "a", Thread("a", "t"), Toolbox([], 1, 1), None) as run:
        x = DetachedExchange("r", CALLER)
        x.run = run
        assert answer_sources(x, chat("user"), None, None, None, PLAIN) is None
