"""`/v1/admin/audit`: the record of actions on the stack, its export and its verification."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse
from serving.api.paging import one_of, page_query, page_response, seconds, text_query
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.errors import invalid
from serving.store.audit import OUTCOMES, PLATFORM, Row, Selected


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the newest events of the tenant's audit log, or those of one user, action, outcome or time."""
    after = request.query_params.get("after")
    if after is not None and not (after.isascii() and after.isdigit() and len(after) <= 15):
        raise invalid("after must be the id of an event.", "after")
    page = await s.audit.page(
        await _chain(s, request, x),
        user=text_query(request, "user", 256),
        action=text_query(request, "action", 64),
        outcome=one_of(request.query_params.get("outcome"), "outcome", OUTCOMES),
        start=seconds(request, "start"),
        end=seconds(request, "end"),
        after=int(after) if after is not None else None,
        limit=page_query(request)["limit"],
    )
    return page_response(page, _event)


async def export(s: Services, request: Request, x: Exchange) -> Response:
    """Exports the tenant's audit log, or the events of one user, action, outcome or time, with a signed end."""
    chain = await _chain(s, request, x)
    user = text_query(request, "user", 256)
    which = Selected(
        user=(await s.audit.known_pseudonym(chain, user) or "") if user is not None else None,
        action=text_query(request, "action", 64),
        outcome=one_of(request.query_params.get("outcome"), "outcome", OUTCOMES),
        start=seconds(request, "start"),
        end=seconds(request, "end"),
    )
    name = quote(f"audit-{chain or 'platform'}.jsonl", safe="")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    x.timeline.end_of("respond")
    x.timeline.under_way = "send"  # as fast as the caller reads it
    body = s.audit.export(chain, which if which != Selected() else None)
    return StreamingResponse(body, headers=headers, media_type="application/x-ndjson")


async def verify(s: Services, request: Request, x: Exchange) -> Response:
    """Verifies that the tenant's audit log was not changed."""
    found = await s.audit.verify(await _chain(s, request, x))
    seq, hash = found.head
    return JsonResponse(
        {
            "object": "audit.verification",
            "valid": found.valid,
            "events": found.events,
            "last": {"seq": seq, "hash": hash},
            "unchecked": found.unchecked,
            "problems": [{"seq": problem.seq, "message": problem.message} for problem in found.problems],
        }
    )


async def _chain(s: Services, request: Request, x: Exchange) -> str:
    """Returns the chain that a request is about: an empty name is the platform's own, with events that belong to no
    tenant.
    """
    if request.query_params.get("tenant") == PLATFORM and "platform" in x.caller.scopes:
        return PLATFORM
    return (await acting(s, request, x)).tenant


def _event(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["seq"]),
        "object": "audit.event",
        "created_at": row["at"] // 1000,
        **{name: row[name] for name in _SHOWN},
    }


_SHOWN = ("action", "outcome", "actor", "key_id", "target", "subject", "request_id", "detail", "hash")
