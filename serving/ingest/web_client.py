"""A polite client of one web site: one request at a time, with limits, and only to allowed addresses."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from serving.assistants.tools.sockets import GuardedSockets
from serving.core import url
from serving.core.url import Url

AGENT = "headrace-ingest"
"""The name by which robots.txt knows this client."""

REQUEST_S = 30.0
"""Maximum time in seconds of one request."""
ANSWER_BYTES = 64_000_000
"""Maximum size in bytes of one unpacked answer."""
MAX_REDIRECTS = 5

_REDIRECTS = (301, 302, 303, 307, 308)


class NotFetched(Exception):
    """There is no complete answer; the message has the reason."""


class NoAnswer(NotFetched):
    """The site did not answer at all."""


@dataclass(frozen=True)
class WebAnswer:
    """An answer with any status that is not a redirect. `url` is the page's own: permanent redirects lead to it."""

    status: int
    url: Url
    headers: Mapping[str, str]
    kind: str
    charset: str | None
    body: bytes


class WebClient:
    """A context manager. `received` counts the bytes of all answers; `delay_s` passes before each but the first."""

    def __init__(self, *, private: bool, delay_s: float) -> None:
        self.delay_s = delay_s
        self.received = 0
        self._sockets = GuardedSockets(private)
        self._runner = asyncio.Runner()
        self._session: aiohttp.ClientSession | None = None

    def __enter__(self) -> WebClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._session is not None:
            self._runner.run(self._session.close())
        self._runner.close()

    def fetch(self, target: Url, allowed: Callable[[Url], bool], headers: Mapping[str, str] | None = None) -> WebAnswer:
        """Follows redirects to `allowed` URLs. Raises `NotFetched`."""
        self._sockets.refused = False
        try:
            return self._runner.run(self._fetch(target, allowed, headers or {}))
        except TimeoutError:
            raise NoAnswer(f"it took longer than {REQUEST_S:g} s") from None
        except aiohttp.ClientConnectorError as e:
            if self._sockets.refused:
                raise NoAnswer("its address is private or reserved; --allow-private allows private ones") from None
            raise NoAnswer(f"no connection: {e}") from None
        except (aiohttp.ClientError, ValueError, OSError) as e:
            raise NoAnswer(f"the answer cannot be read: {type(e).__name__}") from None

    async def _fetch(self, target: Url, allowed: Callable[[Url], bool], headers: Mapping[str, str]) -> WebAnswer:
        own, moved = target, True
        for _ in range(MAX_REDIRECTS + 1):
            session = await self._ready()
            async with (
                asyncio.timeout(REQUEST_S),
                session.get(URL(str(target), encoded=True), headers=headers, allow_redirects=False) as response,
            ):
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    body = await self._body(response) if response.status == 200 else b""
                    kind = response.content_type.lower()
                    return WebAnswer(response.status, own, response.headers, kind, response.charset, body)
                try:
                    target = url.parse(urljoin(str(target), location))
                except ValueError as e:
                    raise NotFetched(f"it redirects to another URL: {e}") from None
                if not allowed(target):
                    raise NotFetched(f"it redirects to {target}, which is not to be read")
                moved = moved and response.status in (301, 308)
                own = target if moved else own
        raise NotFetched(f"it redirects more than {MAX_REDIRECTS} times")

    async def _ready(self) -> aiohttp.ClientSession:
        """Returns the session when the next request may be sent."""
        if self._session is not None:
            await asyncio.sleep(self.delay_s)
            return self._session
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=self._sockets, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": AGENT, "Accept-Encoding": "gzip"},
            auto_decompress=False,
        )
        return self._session

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise NotFetched(f"it has the encoding {encoding[:50]}, which was not asked for")
        packed = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            packed += chunk
            self.received += len(chunk)
            if len(packed) > ANSWER_BYTES:
                raise NotFetched(f"it has more than {ANSWER_BYTES} bytes")
        return bytes(packed) if encoding == "identity" else unpacked(bytes(packed))


def unpacked(packed: bytes) -> bytes:
    """Returns what gzip has packed. Raises `NotFetched`."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(packed, ANSWER_BYTES)
    except zlib.error:
        raise NotFetched("it is not valid gzip") from None
    if not unpacking.eof:
        raise NotFetched(f"it is cut, or has more than {ANSWER_BYTES} bytes when unpacked")
    return found
