"""How a request's end is counted: a failure is ours or cut an answer off, a refusal is the caller's to mend."""

from __future__ import annotations

import pytest

from serving.api.http_exchange import HttpExchange
from serving.protocol.errors import ApiError, forbidden, invalid, too_many, unavailable, upstream


async def sent(_message):
    pass


@pytest.mark.parametrize(
    ("error", "before", "after"),
    [
        (invalid("no"), "refused", "error"),
        (forbidden("not_owner", "no"), "refused", "error"),
        (too_many("busy"), "refused", "error"),
        (unavailable("down"), "error", "error"),
        (upstream("broke off"), "error", "error"),
    ],
    ids=lambda given: given.code if isinstance(given, ApiError) else given,
)
async def test_an_error_refuses_until_the_answer_began(error, before, after):
    x = HttpExchange("r", None, sent)
    assert x.outcome == "ok"
    x.fail(error)
    assert (x.outcome, x.code) == (before, error.code)
    x = HttpExchange("r", None, sent)
    await x.start_stream()
    x.fail(error)
    assert (x.outcome, x.status) == (after, 200)
