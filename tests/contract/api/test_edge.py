"""What the gateway does with what is no request for it: handshakes of WebSockets, and keys that somebody guesses."""

from __future__ import annotations

import base64
import secrets
import socket
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from serving.security.keys import new_key
from serving.security.lockout import FREE
from tests.contract.running import Gateway


def handshake(up: Gateway, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Asks for a WebSocket; returns the answer's status, headers and body."""
    at = urlsplit(up.url)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    asked = ["Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines = [f"GET {path} HTTP/1.1", *asked, f"Sec-WebSocket-Key: {key}", *headers, "", ""]
    with socket.create_connection((at.hostname, at.port), timeout=30) as s:
        s.sendall("\r\n".join(lines).encode())
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}, body


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/chat/completions", "/healthz", "/"])
def test_a_handshake_is_answered_as_an_unknown_route(up: Gateway, path: str) -> None:
    status, headers, body = handshake(up, path, f"Authorization: Bearer {up.key}")
    assert status == 404
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    error = orjson.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["error"]
    assert (error["code"], error["type"]) == ("not_found", "invalid_request_error")


@pytest.mark.parametrize(
    "host", ["x/healthz?", "x/healthz#", "x:80/healthz?a=", "x@y/openapi.json?", "?", "[::1]/healthz?"]
)
def test_a_host_that_looks_like_a_path_opens_no_route(up: Gateway, host: str) -> None:
    """Who is asked for a key is decided by the path that the server read, not by a URL made with the caller's Host."""
    answer = httpx.get(f"{up.url}/v1/me", headers={"host": host}, trust_env=False, timeout=30)
    assert answer.status_code in (400, 401), answer.text


def asking(up: Gateway, address: str, key: str) -> httpx.Response:
    """Asks as HAProxy passes a request on whose caller pretends to be somebody else."""
    forwarded = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", address)]
    headers = [("authorization", f"Bearer {key}"), *forwarded]
    return httpx.get(f"{up.url}/v1/me", headers=headers, trust_env=False, timeout=30)


def test_key_guessing_is_throttled_per_address(up: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.security.lockout.monotonic", lambda: 1000.0)  # however long the requests take
    answers = [asking(up, "192.0.2.66", new_key()) for _ in range(FREE + 5)]
    assert [a.status_code for a in answers] == [401] * FREE + [429] * 5
    last = answers[-1]
    assert int(last.headers["retry-after"]) >= 1
    assert last.json()["error"] == {
        "message": "Rejected: too many keys from this address were not valid; try again later.",
        "type": "rate_limit_error",
        "param": None,
        "code": "too_many_invalid_keys",
    }
    assert asking(up, "192.0.2.67", new_key()).status_code == 401
    assert asking(up, "192.0.2.67", up.key).status_code == 200
    assert asking(up, "192.0.2.66", up.key).status_code == 200  # it is known to be good


@pytest.mark.parametrize("path", ["/docs/", "/redoc/", "/v1"])
def test_who_looks_for_the_documentation_learns_where_it_is(up: Gateway, path: str) -> None:
    answer = httpx.get(f"{up.url}{path}", timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "/openapi.json" in answer.json()["error"]["message"]
    assert "/openapi.json" not in httpx.get(f"{up.url}/docs2", timeout=60).text
