"""`/v1/streams/{stream_id}`, which is ours: a stream survives its caller's reconnect."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.resumable.ids import last_event
from serving.api.services import Services
from serving.inference.exchange import Exchange


async def follow(s: Services, request: Request, x: Exchange) -> None:
    """Goes on with a resumable stream after the event that Last-Event-ID names, from its beginning without one."""
    id = request.path_params["stream_id"]
    owner = s.stream_ids.owner(id, x.caller)
    after = last_event(id, request.headers.get("last-event-id"))
    async with x.cancelled_by_hang_up(), s.peers.following(owner, id, after) as pieces:
        await x.start_stream()
        x.timeline.end_of("respond")
        try:
            async for piece in pieces:
                await x.write(piece)
        finally:
            x.timeline.end_of("decode")  # the model's time, and the caller's
    await x.write(b"", last=True)


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Stops a resumable stream, as a hang-up stops any other, and drops what is kept of it."""
    id = request.path_params["stream_id"]
    owner = s.stream_ids.owner(id, x.caller)
    async with x.cancelled_by_hang_up():
        await s.peers.stop(owner, id)
    return JsonResponse({"id": id, "object": "stream", "deleted": True})
