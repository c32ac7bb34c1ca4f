"""`/v1/streams/{stream_id}`, which OpenAI's API lacks: streams that survive a reconnect."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.resumable.ids import last_event
from serving.api.services import Services
from serving.inference.exchange import Exchange


async def follow(s: Services, request: Request, x: Exchange) -> None:
    """Resumes a resumable stream after the event in Last-Event-ID, by default from its beginning."""
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
            x.timeline.end_of("decode")  # the time of the model and of the caller
    await x.write(b"", last=True)


async def stop(s: Services, request: Request, x: Exchange) -> Response:
    """Stops the answer of a resumable stream, whose readers get an end with `finish_reason: stop`."""
    id = request.path_params["stream_id"]
    owner = s.stream_ids.owner(id, x.caller)
    async with x.cancelled_by_hang_up():
        await s.peers.stop(owner, id, keep=True)
    return JsonResponse({"id": id, "object": "stream", "stopped": True})


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Stops a resumable stream, as a disconnect stops any other, and drops its buffer."""
    id = request.path_params["stream_id"]
    owner = s.stream_ids.owner(id, x.caller)
    async with x.cancelled_by_hang_up():
        await s.peers.stop(owner, id)
    return JsonResponse({"id": id, "object": "stream", "deleted": True})
