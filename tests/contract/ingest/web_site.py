"""A real web server whose pages tests change, and that misbehaves when it is told to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.servers.listening import listening

Misbehaviour = Callable[[BaseHTTPRequestHandler], None]


class WebSite:
    """`pages` maps paths to HTML texts, bytes of PDFs and so on, or to what answers instead."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pages: dict[str, str | bytes | Misbehaviour] = {}
        self.kinds: dict[str, str] = {}
        self.validators = True
        self.asked: list[tuple[str, int]] = []
        """The path and the answered status of each request."""

    def sitemap(self, *paths: str, changed: str = "") -> None:
        lastmod = f"<lastmod>{changed}</lastmod>" if changed else ""
        urls = "".join(f"<url><loc>{self.url}{path}</loc>{lastmod}</url>" for path in paths)
        self.pages["/sitemap.xml"] = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
        self.kinds["/sitemap.xml"] = "application/xml"

    def fetched(self) -> list[str]:
        """Forgets and returns the paths of the pages whose content was sent since the last call."""
        paths = [path for path, status in self.asked if status == 200 and path not in ("/robots.txt", "/sitemap.xml")]
        self.asked.clear()
        return paths

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        page = self.pages.get(request.path)
        if callable(page):
            page(request)
        elif page is None:
            send(request, 404, {}, b"")
        else:
            body = page.encode() if isinstance(page, str) else page
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            headers = {"content-type": self.kinds.get(request.path, "text/html; charset=utf-8")}
            if self.validators and request.path not in ("/robots.txt", "/sitemap.xml"):
                headers["etag"] = tag
            if request.headers.get("if-none-match") == tag and "etag" in headers:
                send(request, 304, headers, b"")
            else:
                send(request, 200, headers, body)


def send(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    if status != 304:
        request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def status(code: int, **headers: str) -> Misbehaviour:
    return lambda request: send(request, code, headers, b"")


@contextmanager
def web_site() -> Iterator[WebSite]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            site.asked.append((self.path, int(code)))

        def do_GET(self) -> None:
            try:
                site.answer(self)
            except ConnectionError:  # the client had read enough
                self.close_connection = True

    with listening(Handler) as port:
        site = WebSite(port)
        yield site
