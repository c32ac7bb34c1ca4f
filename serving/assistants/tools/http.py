"""HTTP requests of a model: to allowed URLs and addresses, with text as the result."""

from __future__ import annotations

import asyncio
import codecs
import json
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from serving.assistants.tools.masking import masked
from serving.assistants.tools.sockets import GuardedSockets
from serving.assistants.tools.tool import MAX_ARGUMENTS, MadeTools, Tool, ToolError
from serving.config import HttpTool
from serving.core import url
from serving.core.confine import Unconfined
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.sandbox import ParserLimits, parse_isolated

SAFE = ("GET", "HEAD")
"""Methods without side effects, by RFC 9110."""

_REDIRECTS = (301, 302, 303, 307, 308)
_TEXT = frozenset(
    ("application/json", "application/xml", "application/yaml", "application/x-ndjson", "application/x-yaml")
)
_HTML = ("text/html", "application/xhtml+xml")
_CHARSETS = ("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16")
"""Python's names of supported charsets. Some of its other codecs take quadratic time."""

_PAGE = ParserLimits(memory_bytes=1_000_000_000, cpu_s=5, wall_s=10)
# Separate threads: other work, such as the store's, does not wait for slow pages.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="http-tool")


async def make(settings: HttpTool) -> MadeTools:
    """Returns the tool of a catalogue entry."""
    return MadeTools([http_tool(settings)])


def http_tool(settings: HttpTool, resolver: AbstractResolver | None = None) -> Tool:
    """Returns the tool; `resolver` resolves host names, by default as the system does."""
    requests = _Requests(settings, resolver)
    return Tool(
        settings.name,
        settings.description,
        _parameters(settings),
        requests.call,
        effects=lambda given: requests.method(given) not in SAFE,
        untrusted=True,
        approval=settings.approval,
    )


def _parameters(settings: HttpTool) -> dict[str, Any]:
    where = "; ".join(settings.allow)
    properties: dict[str, Any] = {
        "url": {"type": "string", "maxLength": url.MAX_URL, "description": f"this or below it: {where}"}
    }
    if len(settings.methods) > 1:
        properties["method"] = {"type": "string", "enum": list(settings.methods), "default": settings.methods[0]}
    if not set(settings.methods) <= set(SAFE):
        properties["body"] = {"type": "string", "maxLength": MAX_ARGUMENTS, "description": "JSON or text"}
    return {"type": "object", "properties": properties, "required": ["url"], "additionalProperties": False}


class _Requests:
    """Sends the requests of one tool."""

    def __init__(self, settings: HttpTool, resolver: AbstractResolver | None) -> None:
        self._settings = settings
        self._resolver = resolver
        self._allow = [url.parse(prefix) for prefix in settings.allow]

    def method(self, given: Mapping[str, Any]) -> str:
        """Returns the method of a call."""
        return str(given.get("method", self._settings.methods[0]))

    async def call(self, given: Mapping[str, Any]) -> str:
        """Returns status, type and text of the response. Raises `ToolError`."""
        target, method = self._allowed(given["url"]), self.method(given)
        body = _encoded(given["body"]) if "body" in given else None
        if body is not None and method in SAFE:
            raise ToolError(f"a {method} request must not have a body")
        sockets = GuardedSockets(self._settings.private)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                secrets = await asyncio.to_thread(self._secrets)
                said = await self._request(target, method, body, secrets, sockets)
        except aiohttp.ClientConnectorError:
            reason = "its address is not one that this tool may connect to" if sockets.refused else "no connection"
            raise ToolError(f"the host cannot be reached: {reason}") from None
        except TimeoutError:
            raise ToolError(f"it took longer than {self._settings.timeout_s:g} s") from None
        except (aiohttp.ClientError, ValueError) as e:
            raise ToolError(f"the answer cannot be read: {type(e).__name__}") from None
        return masked(said, secrets.values())

    def _allowed(self, text: str) -> url.Url:
        try:
            target = url.parse(text)
        except url.BadUrl as e:
            raise ToolError(str(e)) from None
        if not any(target.below(prefix) for prefix in self._allow):
            raise ToolError(f"this URL is not allowed; allowed are {', '.join(map(str, self._allow))}, and below")
        return target

    def _secrets(self) -> dict[str, str]:
        try:
            return {name: ref.read() for name, ref in self._settings.secrets.items()}
        except LookupError as e:
            raise ToolError("a secret of this tool cannot be read") from e

    async def _request(
        self, target: url.Url, method: str, body: bytes | None, secrets: Mapping[str, str], sockets: GuardedSockets
    ) -> str:
        headers = CIMultiDict({"Accept": "text/*, application/json", "User-Agent": "headrace"})
        if body is not None:
            headers["Content-Type"] = "application/json" if _is_json(body) else "text/plain; charset=utf-8"
        headers.update(secrets)
        headers["Accept-Encoding"] = "identity"
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, socket_factory=sockets, use_dns_cache=False, force_close=True
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        async with session:
            for _ in range(self._settings.max_redirects + 1):
                async with session.request(
                    method,
                    URL(str(target), encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None or method not in SAFE:
                        return await self._read_body(response)
                    if self._settings.max_redirects == 0:
                        raise ToolError("the server redirects to another URL, which this tool does not follow")
                    target = self._allowed(urljoin(str(target), location))
        raise ToolError(f"the server redirects more than {self._settings.max_redirects} times")

    async def _read_body(self, response: aiohttp.ClientResponse) -> str:
        kind = response.content_type.lower()
        head = f"HTTP {response.status}"
        if response.method == "HEAD" or response.status in (204, 205, 304):
            return f"{head} {kind}"
        body, whole = await _body(response, self._settings.max_bytes)
        if not body:
            return f"{head}, without a body"
        if not (kind.startswith("text/") or kind in _TEXT or kind.endswith(("+json", "+xml"))):
            raise ToolError(f"{head}: the answer is {kind[:100]}, not text")
        text = _decoded(body, response.charset)
        if kind in _HTML:
            text = await asyncio.get_running_loop().run_in_executor(_THREADS, _page, text)
        note = "" if whole else f"\n[only the first {self._settings.max_bytes} bytes]"
        return f"{head} {kind}\n{text}{note}"


async def _body(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Returns the first `limit` bytes of a decompressed body, and whether they are all."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "deflate"):
        raise ToolError(f"the answer has the encoding {encoding[:50]}, which this tool does not support")
    unpacked = zlib.decompressobj(wbits=47) if encoding != "identity" else None  # 47: zlib or gzip
    found = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        try:
            found += unpacked.decompress(chunk, limit + 1 - len(found)) if unpacked is not None else chunk
        except zlib.error:
            raise ToolError(f"the answer is not valid {encoding}") from None
        if len(found) > limit:
            return bytes(found[:limit]), False
    return bytes(found), True


def _decoded(body: bytes, charset: str | None) -> str:
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):
        name = "utf-8"
    text = body.decode(name if name in _CHARSETS else "utf-8", errors="replace")
    odd = sum(text.count(character) for character in ("\x00", "\ufffd"))
    if odd > len(text) // 10:
        raise ToolError("the answer is not valid text")
    return text.replace("\x00", "\ufffd")


def _page(html: str) -> str:
    """Returns the text of a page, parsed in a confined child process as documents are."""
    try:
        page = parse_isolated(html.encode(), "page.html", _PAGE)
    except Unconfined:
        raise ToolError("pages cannot be read here") from None
    except UnreadableDocument as e:
        raise ToolError(f"the page cannot be read: {e.message}") from None
    return f"{page.title}\n{page.text}"


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ToolError("the body contains an invalid character") from None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
