"""Answers requests within requests through the handlers of their routes, such as the lines of batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.types import Message

from serving.api.failures import as_api_error
from serving.api.http_error import status_of
from serving.api.operation import Operation
from serving.api.scopes import require
from serving.api.services import Services
from serving.inference.detached_exchange import DetachedExchange
from serving.inference.exchange import Exchange
from serving.protocol.errors import ApiError


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """An answer; `error` is set if it is an error."""

    status: int
    body: bytes
    error: ApiError | None = None


Answers = Callable[[bytes, DetachedExchange], Awaitable[LineAnswer]]


def request_to(
    op: Operation,
    x: Exchange,
    body: bytes = b"",
    *,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, object] | None = None,
) -> Request:
    """Returns a request to a route, as it would be received; `path` has the parameters of the route's path."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": op.method,
        "path": op.path.format(**(path or {})),
        "path_params": dict(path or {}),
        "query_string": urlencode(query or {}).encode(),
        "headers": [(b"content-type", b"application/json")],
        "headrace": x,
    }
    return Request(scope, receive)


def answers(s: Services, op: Operation) -> Answers:
    """Returns the function that answers requests to one route, given their bodies."""

    async def answer(body: bytes, x: DetachedExchange) -> LineAnswer:
        try:
            require(op.scope, x.caller)
            # The exchange of a waiting caller has more fields, which these routes do not use.
            response = await op.handler(s, request_to(op, x, body), x)  # type: ignore[arg-type]
        except Exception as e:
            error = as_api_error(e, x.request_id)
            return LineAnswer(status_of(error), error.body(), error)
        if response is None:
            raise AssertionError("batches do not stream")
        return LineAnswer(response.status_code, bytes(response.body))

    return answer
