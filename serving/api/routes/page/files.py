"""`/assets/{name}`: files of the page, which browsers may keep forever."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.page.assets import assets
from serving.protocol.errors import not_found

FOREVER = "public, max-age=31536000, immutable"


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a file, compressed as the browser accepts it."""
    found = assets().get(request.path_params["name"])
    if found is None:
        raise not_found("file")
    encoding, body = found.body(request.headers.get("accept-encoding", ""))
    headers = {"cache-control": FOREVER, "vary": "accept-encoding"}
    if encoding != "identity":
        headers["content-encoding"] = encoding
    return Response(body, media_type=found.media_type, headers=headers)
