"""Headers that tell browsers what not to do: on every answer, whatever it is."""

from __future__ import annotations

import httpx
import pytest
from aiohttp import web

from serving.api.response_headers import ALWAYS, HSTS, completed
from serving.config import Catalog, RemoteModel
from tests.contract.running import Loop, engine, gateway

FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    async def chat(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(FRAME)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    with Loop() as loop, engine(loop, app) as port:
        catalog = Catalog(models=(RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1"),))
        with (
            gateway(loop, tmp_path_factory.mktemp("headers"), catalog) as g,
            httpx.Client(base_url=g.url, timeout=60) as client,
        ):
            client.headers["authorization"] = f"Bearer {g.key}"
            yield client


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
ANSWERS = {
    "an answer": ("GET", "/v1/models", {}, 200),
    "an answer to anybody": ("GET", "/healthz", {}, 200),
    "a stream": ("POST", "/v1/chat/completions", {"json": CHAT}, 200),
    "a resumable stream": (
        "POST",
        "/v1/chat/completions",
        {"json": CHAT, "headers": {"headrace-resumable": "true"}},
        200,
    ),
    "a mistake": ("POST", "/v1/chat/completions", {"json": {}}, 400),
    "a refusal": ("GET", "/v1/models", {"headers": {"authorization": "Bearer no"}}, 401),
    "no route": ("GET", "/v1/../etc", {}, 404),
    "no method": ("PATCH", "/v1/models", {}, 405),
    "a bad id": ("GET", "/v1/models", {"headers": {"x-request-id": "a b"}}, 400),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_response_has_each_security_header_once(running, name):
    method, path, more, status = ANSWERS[name]
    answer = running.request(method, path, **more)
    assert answer.status_code == status
    for header, value in ALWAYS:
        expected = "no-cache" if header == b"cache-control" and "stream" in name else value.decode()
        assert answer.headers.get_list(header.decode()) == [expected]
    assert HSTS[0].decode() not in answer.headers  # it came in plain text


def test_tls_is_promised_where_the_edge_speaks_it(running):
    answer = running.get("/v1/models", headers={"x-forwarded-proto": "https"})
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_an_uploaded_page_is_a_download_and_never_a_page(running):
    page = b"<script>alert(1)</script>"
    made = running.post("/v1/files", files={"file": ("a;b.html", page)}, data={"purpose": "user_data"})
    answer = running.get(f"/v1/files/{made.json()['id']}/content")
    assert answer.content == page
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%3Bb.html"
    assert answer.headers["content-type"] == "application/octet-stream"
    for header, value in ALWAYS:
        assert answer.headers.get_list(header.decode()) == [value.decode()]


def test_security_headers_restrict_browsers():
    assert dict(completed([], tls=True)) == {
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
        b"cross-origin-resource-policy": b"same-origin",
        b"cache-control": b"no-store",
        b"strict-transport-security": b"max-age=31536000",
    }


def test_an_answer_can_say_otherwise():
    own = [(b"Content-Security-Policy", b"default-src 'self'"), (b"cache-control", b"private")]
    found = completed(own, tls=True)
    assert found[:2] == own
    assert [name for name, _ in found[2:]] == [
        b"x-content-type-options",
        b"referrer-policy",
        b"cross-origin-resource-policy",
        b"strict-transport-security",
    ]
