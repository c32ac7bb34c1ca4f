"""The tools: each calls one route as the caller, with the route's scope, quotas and errors, and returns its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from serving.api.audit_recording import audited
from serving.api.background.line_requests import request_to
from serving.api.http_exchange import HttpExchange
from serving.api.openapi.answers import answer_schema
from serving.api.openapi.schemas import MAYBE, TEXT, list_of, object_of
from serving.api.operation import Operation
from serving.api.operations import OPERATIONS
from serving.api.scopes import require_for
from serving.api.services import Services
from serving.core.uninterrupted import finish
from serving.protocol.errors import ApiError
from serving.protocol.mcp.arguments import (
    AskArguments,
    ChangedMemory,
    FileArguments,
    MemoryArguments,
    MemoryListArguments,
    NewMemory,
    NoArguments,
    PageArguments,
    SearchArguments,
    StoreListArguments,
)
from serving.protocol.parts import Body
from serving.protocol.validation import validate
from serving.retrieval.text.window import CHARACTERS

ROUTES = {f"{op.method} {op.path}": op for op in OPERATIONS}
"""By method and path."""

Document = dict[str, Any]


async def ask(
    s: Services,
    x: HttpExchange,
    op: Operation,
    *,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, object] | None = None,
    body: Document | None = None,
) -> Document:
    """Returns a route's answer to the caller, and records it as the route does; raises what the route raises."""
    require_for(op, x.caller, s.audit)
    encoded = orjson.dumps(body) if body is not None else b""
    request = request_to(op, x, encoded, path=path, query=query)
    if op.audited is None:
        response = await op.handler(s, request, x)
    else:
        response = await finish(audited(op, op.handler, s, request, x))
    if response is None:
        raise AssertionError("no tool asks for a stream")
    document: Document = orjson.loads(response.body)
    return document


@dataclass(frozen=True)
class RouteTool:
    """A tool that calls `route`: with `path` the arguments that are parts of its path, by the names that they have
    there, and with the others as its query or body, which `body` may write.

    `fields` has the arguments by the fields of the body that they become, where names differ. Its result is the route's
    answer, or what `result` makes of it, with `output` as its JSON Schema; `text` is how a model reads it.
    """

    name: str
    title: str
    description: str
    route: str
    arguments: type[Body]
    path: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[Document], Document] = dict
    fields: Mapping[str, str] = field(default_factory=dict)
    result: Callable[[Document], Document] = dict
    output: Document | None = None
    text: Callable[[Document], str] = lambda result: orjson.dumps(result).decode()
    changes: bool = False
    destroys: bool = False
    open_world: bool = False

    @cached_property
    def op(self) -> Operation:
        """The route that is called."""
        return ROUTES[self.route]

    @cached_property
    def input_schema(self) -> Document:
        """The JSON Schema of the arguments."""
        schema = self.arguments.model_json_schema()
        return {name: value for name, value in schema.items() if name not in ("title", "description")}

    @cached_property
    def output_schema(self) -> Document:
        """The JSON Schema of the result."""
        return answer_schema(self.op) if self.output is None else self.output

    async def call(self, s: Services, x: HttpExchange, given: Document) -> Document:
        """Returns the tool's result. Raises `ApiError`, with arguments as its `param`, and what the route raises."""
        arguments = validate(self.arguments, given).model_dump(exclude_none=True)
        path = {there: arguments.pop(name) for there, name in self.path.items()}
        try:
            if self.op.method == "POST":
                found = await ask(s, x, self.op, path=path, body=self.body(arguments))
            else:
                found = await ask(s, x, self.op, path=path, query=arguments)
        except ApiError as e:
            if (argument := self.fields.get(e.param or "")) is not None:
                e.param = argument
            raise
        return self.result(found)


def _chat(arguments: Document) -> Document:
    chat = {"messages": [{"role": "user", "content": arguments.pop("question")}], **arguments}
    if (stores := chat.pop("vector_store_ids", None)) is not None:
        chat["knowledge"] = {"vector_store_ids": stores}
    return chat


def _answer(document: Document) -> Document:
    """Returns the answer of a chat completion, without what engines say as they like."""
    choice = document["choices"][0]
    message = choice["message"]
    cited = (message.get("headrace") or {}).get("citations") or ()
    sources = {each["file_id"]: each["title"] or each["file_name"] for each in cited}
    return {
        "id": document["id"],
        "model": document["model"],
        "answer": message.get("content") or message.get("refusal") or "",
        "finish_reason": choice.get("finish_reason"),
        "annotations": message.get("annotations") or [],
        "sources": [{"file_id": id, "title": title} for id, title in sources.items()],
    }


_ANSWER = object_of(
    None,
    id=TEXT,
    model=TEXT,
    answer=TEXT,
    finish_reason=MAYBE,
    annotations=list_of({"type": "object"}),
    sources=list_of(object_of(None, file_id=TEXT, title=TEXT)),
)


def _with_sources(answer: Document) -> str:
    """Returns the text of an answer, and below it its sources."""
    sources = [f"- {each['title']} (file {each['file_id']})" for each in answer["sources"]]
    return "\n".join([answer["answer"], "", "Sources:", *sources]) if sources else answer["answer"]


def _that_chat(document: Document) -> Document:
    return document | {"data": [each for each in document["data"] if each["headrace"]["task"] == "chat"]}


TOOLS = {
    tool.name: tool
    for tool in (
        RouteTool(
            "search",
            "Search documents",
            "Searches the documents of a vector store by words and by meaning, and returns the best passages.",
            "POST /v1/vector_stores/{store_id}/search",
            SearchArguments,
            path={"store_id": "vector_store_id"},
        ),
        RouteTool(
            "ask",
            "Ask an assistant or model",
            "Asks an assistant or model one question. Assistants may answer from the stack's documents, which they "
            "cite, and may use tools of their own.",
            "POST /v1/chat/completions",
            AskArguments,
            body=_chat,
            fields={"knowledge.vector_store_ids": "vector_store_ids", "messages[0].content": "question"},
            result=_answer,
            output=_ANSWER,
            text=_with_sources,
            changes=True,  # an assistant's own tools may
            destroys=True,
            open_world=True,
        ),
        RouteTool(
            "list_models",
            "List assistants and models",
            "Lists the assistants and models that can be asked.",
            "GET /v1/models",
            NoArguments,
            result=_that_chat,
        ),
        RouteTool(
            "list_vector_stores",
            "List vector stores",
            "Lists the vector stores that can be searched, the newest first.",
            "GET /v1/vector_stores",
            StoreListArguments,
        ),
        RouteTool(
            "list_files",
            "List files",
            "Lists the uploaded files that the caller may read, the newest first.",
            "GET /v1/files",
            PageArguments,
        ),
        RouteTool(
            "read_file",
            "Read a file",
            f"Returns at most {CHARACTERS} characters of a file's text, by default its beginning. For the next part, "
            f"ask for `start` = the last `end`, and for `end` = {CHARACTERS} more.",
            "GET /v1/files/{file_id}/text",
            FileArguments,
            path={"file_id": "file_id"},
        ),
        RouteTool(
            "list_memories",
            "List memories",
            "Lists what assistants remember about the caller, the newest first.",
            "GET /v1/memories",
            MemoryListArguments,
        ),
        RouteTool(
            "add_memory",
            "Remember a statement",
            "Adds a statement about the caller that an assistant remembers from now on.",
            "POST /v1/memories",
            NewMemory,
            changes=True,
        ),
        RouteTool(
            "update_memory",
            "Change a memory",
            "Replaces the text of a statement that an assistant remembers about the caller.",
            "POST /v1/memories/{memory_id}",
            ChangedMemory,
            path={"memory_id": "memory_id"},
            changes=True,
            destroys=True,
        ),
        RouteTool(
            "delete_memory",
            "Forget a memory",
            "Deletes a statement that an assistant remembers about the caller.",
            "DELETE /v1/memories/{memory_id}",
            MemoryArguments,
            path={"memory_id": "memory_id"},
            changes=True,
            destroys=True,
        ),
    )
}
"""By name."""


def tools_for(x: HttpExchange) -> list[RouteTool]:
    """Returns the tools whose routes the caller's key permits."""
    return [tool for tool in TOOLS.values() if tool.op.scope is None or tool.op.scope in x.caller.scopes]
