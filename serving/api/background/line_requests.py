"""Answers requests of batches through the handlers of their routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Message

from serving.api.failures import as_api_error
from serving.api.http_error import status_of
from serving.api.operation import Operation
from serving.api.scopes import require
from serving.api.services import Services
from serving.inference.detached_exchange import DetachedExchange
from serving.protocol.errors import ApiError


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """An answer; `error` is set if it is an error."""

    status: int
    body: bytes
    error: ApiError | None = None


Answers = Callable[[bytes, DetachedExchange], Awaitable[LineAnswer]]


def answers(s: Services, op: Operation) -> Answers:
    """Returns the function that answers requests to one route, given their bodies."""

    async def answer(body: bytes, x: DetachedExchange) -> LineAnswer:
        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {
            "type": "http",
            "method": op.method,
            "path": op.path,
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "headrace": x,
        }
        try:
            require(op.scope, x.caller)
            # The exchange of a waiting caller has more fields, which these routes do not use.
            response = await op.handler(s, Request(scope, receive), x)  # type: ignore[arg-type]
        except Exception as e:
            error = as_api_error(e, x.request_id)
            return LineAnswer(status_of(error), error.body(), error)
        if response is None:
            raise AssertionError("batches do not stream")
        return LineAnswer(response.status_code, bytes(response.body))

    return answer
