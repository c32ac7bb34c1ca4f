"""`/`, `/c/{id}`, `/s/{id}`, `/admin/...` and `/docs`: documents whose scripts show what the address names."""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.page.assets import PageName
from serving.page.shell import policy, shell

NONCE_BYTES = 16


async def chat(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the document of the chat."""
    return _document("chat", session=s.browser.session_cookie in request.cookies)


async def console(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the document of the operator's console, which shows only what the API answers its reader."""
    return _document("console", session=s.browser.session_cookie in request.cookies)


async def reference(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the document of the API reference, which reads `/openapi.json`."""
    return _document("reference")


def _document(page: PageName, *, session: bool = False) -> Response:
    """Returns a document, with a policy that allows its script alone."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    headers = {
        "content-security-policy": policy(nonce),
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "x-dns-prefetch-control": "off",  # the host of a link would otherwise be looked up before anybody follows it
    }
    return HTMLResponse(shell(nonce, page, session=session), headers=headers)
