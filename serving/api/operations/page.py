"""Operations of the web page, which the gateway serves beside the API; its OpenAPI document leaves them out."""

from __future__ import annotations

from serving.api.operation import Operation
from serving.api.routes.page import document, files

PAGE_OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/", document.chat, authenticated=False),
    Operation("GET", "/c/{conversation_id}", document.chat, authenticated=False),
    Operation("GET", "/s/{share_id}", document.chat, authenticated=False),
    Operation("GET", "/admin", document.console, authenticated=False),
    Operation("GET", "/admin/{view}", document.console, authenticated=False),
    Operation("GET", "/admin/runbooks/{alert}", document.console, authenticated=False),
    Operation("GET", "/docs", document.reference, authenticated=False),
    Operation("GET", "/assets/{name}", files.get, authenticated=False),
)
