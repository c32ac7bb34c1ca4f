"""The header `Idempotency-Key`: a repeated request has its effects once, and gets the same answer.

It follows draft-ietf-httpapi-idempotency-key-header-07. A generation holds its key while it runs, and its answer is
stored with its capture and its turn. A request that only writes to the store shares one transaction with its answer,
for which a repetition waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import read_body, unread
from serving.api.http_error import HttpError
from serving.api.http_exchange import HttpExchange
from serving.api.operation import Handler, Operation
from serving.api.services import Services
from serving.inference.idempotency_hold import Hold
from serving.protocol.errors import invalid
from serving.store.idempotency import Claim, Earlier, IdempotencyKeys, KeptAnswer, claim_of

log = logging.getLogger("headrace.api")

MAX_KEY = 255
KEY = r'^(?:[!#-~][ -~]*|"(?:[ !#-[\]-~]|\\["\\])+")$'
"""The header's value: a string of RFC 9651, or its content without quotes."""

RETRY_AFTER_S = 2

_HEADER = b"idempotency-key"
_ESCAPED = re.compile(r"\\(.)")

_TOLD_OF = {"conversations": "conversation_id", "memories": "memory_id", "feedback": "feedback_id"}


def repeatable(op: Operation) -> Handler:
    """Returns the operation's handler with support for the header, if the operation has it.

    Without the header there is no overhead. Uploads reject the header, since their callers rely on it.
    """
    if op.once is None and not op.upload:
        return op.handler

    async def handler(s: Services, request: Request, x: HttpExchange) -> Response | None:
        given = [value for name, value in request.scope["headers"] if name == _HEADER]
        if not given:
            return await op.handler(s, request, x)
        if op.once is None:
            raise invalid("Uploads do not support Idempotency-Key.", code="idempotency_not_supported")
        key = _key(given)
        body = await read_body(request, s.limits)
        claim = claim_of(x.caller, key, _fingerprint(request, body))
        again = unread(body, request)
        if op.once == "transaction":
            return await s.database.atomically(lambda: _in_transaction(op, s, again, x, claim))
        if (earlier := await s.idempotency_keys.claim(claim)) is not None:
            return _answer(earlier, claim)
        async with _holding(s.idempotency_keys, claim) as hold:
            x.hold = hold
            x.overhear(hold.hear)
            return await op.handler(s, again, x)

    return handler


@asynccontextmanager
async def _holding(keys: IdempotencyKeys, claim: Claim) -> AsyncIterator[Hold]:
    hold = Hold(keys, claim)
    renewing = asyncio.create_task(hold.renew())
    try:
        yield hold
    finally:
        renewing.cancel()
        await hold.release()


async def _in_transaction(op: Operation, s: Services, request: Request, x: HttpExchange, claim: Claim) -> Response:
    if (earlier := await s.idempotency_keys.claim(claim)) is not None:
        return _answer(earlier, claim)
    response = await op.handler(s, request, x)
    if response is None:
        raise AssertionError("an operation of one transaction does not stream")
    body = bytes(response.body)
    told = orjson.loads(body)
    made_id = request.path_params.get("conversation_id") or told["id"]
    kind = op.path.split("/")[2]
    about = {_TOLD_OF[kind]: made_id} if kind in _TOLD_OF else {}
    if kind == "shares":  # with the title of the conversation
        about = {"conversation_id": told["conversation"]}
    await s.idempotency_keys.keep(claim, KeptAnswer("application/json", body), made_id, about)
    return response


def _answer(earlier: Earlier, claim: Claim) -> Response:
    """Returns the stored answer of the key's request; raises a 422 or a 409."""
    if earlier.fingerprint != claim.fingerprint:
        raise HttpError(422, "idempotency_key_reused", "Another request was sent with this Idempotency-Key.")
    if earlier.in_flight:
        raise HttpError(
            409,
            "idempotency_key_in_use",
            "The first request with this Idempotency-Key is still being answered.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    if earlier.answer is None:
        raise HttpError(
            409,
            "idempotency_answer_not_kept",
            f"This request was carried out and created {earlier.made_id}. Its answer is not kept: it was too large, "
            "was not to be stored, or what it described was deleted."
            if earlier.made_id is not None
            else "This request was interrupted after one of its tools had changed something, so it is not repeated.",
            headers={"x-should-retry": "false"},  # OpenAI's SDKs would retry any other 409
        )
    headers = {"content-type": earlier.answer.content_type, "idempotency-replayed": "true"}
    return Response(earlier.answer.body, headers=headers)


def _key(given: list[bytes]) -> str:
    """Returns the key in the header, with or without quotes; raises a 400."""
    text = given[0].decode("latin-1")
    if len(given) > 1 or len(text) > MAX_KEY or not re.fullmatch(KEY, text):
        raise invalid(
            f"Idempotency-Key must be given once, as 1 to {MAX_KEY} printable ASCII characters.",
            code="invalid_idempotency_key",
        )
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _fingerprint(request: Request, body: bytes) -> str:
    """Returns a digest of a request: its path, its query and every byte of its body.

    The path is that of the server: `Request.url` contains the header `Host`, which the caller controls.
    """
    place = orjson.dumps([request.scope["path"], request.scope["query_string"].decode("latin-1")])
    return hashlib.sha256(place + b"\n" + body).hexdigest()
