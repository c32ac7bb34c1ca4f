"""The routes in the shape of Anthropic's API: their errors have it, and their key may be where its clients send it."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from serving.api.http_exchange import HttpExchange
from serving.protocol.messages import errors

MESSAGES = ("/v1/messages", "/v1/messages/count_tokens")

KEY_HEADER = "x-api-key"


def authorization_of(request: Request) -> str | None:
    """Returns the value of a request's header `Authorization`, or else, on these routes, that of its key's header."""
    given = request.headers.get("authorization")
    if given is None and request.scope["path"] in MESSAGES and (key := request.headers.get(KEY_HEADER)):
        return f"Bearer {key}"
    return given


def shape(x: HttpExchange) -> None:
    """Gives an exchange Anthropic's form of errors, and its id where Anthropic's clients read it."""
    x.own_headers = ((b"request-id", x.request_id.encode()),)
    x.error_body = partial(errors.body, request_id=x.request_id)
    x.error_frame = partial(errors.frame, request_id=x.request_id)
