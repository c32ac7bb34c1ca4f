"""`/v1/admin/webhooks`: URLs of a tenant that are notified when background work ends."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.admin_bodies import RotationRequest, WebhookRequest
from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.core import url
from serving.inference.exchange import Exchange
from serving.protocol.errors import forbidden, invalid
from serving.store.background.webhooks import Webhook


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a webhook, and returns its secret this once."""
    principal = await acting(s, request, x)
    body = await read_json(request, WebhookRequest, s.limits)
    if body.private and "platform" not in x.caller.scopes:
        raise forbidden("insufficient_scope", "A receiver in a private network requires a key with the scope platform.")
    try:
        target = url.parse(body.url)
    except url.BadUrl as e:
        raise invalid(f"{e}.", "url") from None
    if not body.private and not str(target).startswith("https://"):
        raise invalid("A webhook needs an https URL.", "url")
    made = await s.webhooks.create(principal, url=str(target), events=body.events, private=body.private)
    return JsonResponse(_render(made) | {"secret": made.secret})


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the webhooks."""
    principal = await acting(s, request, x)
    return page_response(await s.webhooks.list(principal, **page_query(request)), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a webhook without its secret."""
    principal = await acting(s, request, x)
    return JsonResponse(_render(await s.webhooks.get_visible(principal, request.path_params["webhook_id"])))


async def rotate(s: Services, request: Request, x: Exchange) -> Response:
    """Gives a webhook a new secret, and returns it this once; during the overlap, the old one signs too."""
    principal = await acting(s, request, x)
    body = await read_json(request, RotationRequest, s.limits)
    made = await s.webhooks.rotate(principal, request.path_params["webhook_id"], overlap_s=body.overlap_s)
    return JsonResponse(_render(made) | {"secret": made.secret})


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a webhook: no further events are sent there."""
    principal = await acting(s, request, x)
    id = request.path_params["webhook_id"]
    await s.webhooks.delete(principal, id)
    return JsonResponse({"id": id, "object": "webhook", "deleted": True})


def _render(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "object": "webhook",
        "tenant": webhook.tenant,
        "url": webhook.url,
        "events": webhook.events,
        "private": webhook.private,
        "set_by": webhook.set_by,
        "not_sent": webhook.not_sent,
        "created_at": int(webhook.created_at),
    }
