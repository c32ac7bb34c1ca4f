"""Makes the URLs of citations absolute while an answer is sent.

Whatever is stored has their path alone: a reader of the same answer may reach the stack by another name, and a name
that a request claims must not become part of what others read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.app_gate import RUN
from serving.api.response_headers import over_tls
from serving.core import url

FILES = "/v1/files/"
_SOURCES = {"url_citation": "url", "search_result_location": "source"}
"""Types of citations, OpenAI's and that of messages, and the field with the URL."""
_CITED = tuple(f'"{kind}"'.encode() for kind in _SOURCES)
"""One of these is in each answer with a citation; within a string, the quotes would be escaped."""
_DATA = b"data: "
_JSON = b"application/json"
_EVENTS = b"text/event-stream"


def absolute_links(app: ASGIApp, configured: str) -> ASGIApp:
    """Returns `app`, whose citations have URLs that begin with `configured`, or else with what the request names."""
    base = "" if _is_loopback(configured) else configured

    async def linking(scope: Scope, receive: Receive, send: Send) -> None:
        # The address of a run of an app exists only within the run.
        start = "" if RUN in scope else base or named_by(scope)
        await app(scope, receive, _Linking(send, start) if start else send)

    return linking


def named_by(scope: Scope) -> str:
    """Returns the URL, without a path, at which a request says that it reached the stack; empty if it is not clear.

    `X-Forwarded-Host` is ignored: proxies pass on `Host`, and callers can send both.
    """
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not hosts[0].isascii() or any(c in hosts[0] for c in "/?#"):
        return ""
    try:
        parsed = url.parse(f"{'https' if over_tls(scope) else 'http'}://{hosts[0]}")
    except url.BadUrl:
        return ""
    return str(parsed).removesuffix(parsed.path)


def linked(document: Any, base: str) -> Any:
    """Returns a JSON document after `base` was put before the paths of its citations."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += value.values()
            kind = value.get("type")
            if not isinstance(kind, str) or (field := _SOURCES.get(kind)) is None:
                continue
            # In a chat the fields are an object of their own, elsewhere they stand beside the type.
            cited = value.get(kind, value)
            if isinstance(cited, dict) and isinstance(path := cited.get(field), str) and path.startswith(FILES):
                cited[field] = base + path
    return document


class _Linking:
    """The `send` of one answer."""

    def __init__(self, send: Send, base: str) -> None:
        self._send = send
        self._base = base
        self._start: Message | None = None  # of a JSON answer, whose length is known at its end
        self._events = False
        self._held = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = _content_type(message["headers"])
            self._events = kind.startswith(_EVENTS)
            if kind.startswith(_JSON):
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._events:
            message = self._with_whole_lines(message)
        elif message["type"] == "http.response.body" and self._start is not None:
            self._held += message.get("body", b"")
            if message.get("more_body", False):
                return
            start, body = self._start, self._held
            if _cites(body):
                body = orjson.dumps(linked(orjson.loads(body), self._base))
                others = [header for header in start["headers"] if header[0] != b"content-length"]
                start = {**start, "headers": [*others, (b"content-length", b"%d" % len(body))]}
            await self._send(start)
            message = {**message, "body": body}
        await self._send(message)

    def _with_whole_lines(self, message: Message) -> Message:
        """Returns a part of an event stream with links; a line that it breaks off waits for its rest."""
        body = message.get("body", b"")
        if not self._held and body.endswith(b"\n") and not _cites(body):
            return message
        body = self._held + body
        end = body.rfind(b"\n") + 1 if message.get("more_body", False) else len(body)
        body, self._held = body[:end], body[end:]
        if _cites(body):
            body = b"\n".join(self._line(line) for line in body.split(b"\n"))
        return {**message, "body": body}

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(_DATA) or not _cites(line):
            return line
        try:
            document = orjson.loads(line[len(_DATA) :])
        except orjson.JSONDecodeError:  # its sender broke off within it, and told so in the next event
            return line
        return _DATA + orjson.dumps(linked(document, self._base))


def _cites(data: bytes) -> bool:
    return any(kind in data for kind in _CITED)


def _content_type(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return next((value for name, value in headers if name.lower() == b"content-type"), b"")


def _is_loopback(address: str) -> bool:
    return not address or url.is_loopback(url.parse(address).host)
