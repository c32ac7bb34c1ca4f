"""What only a running stack can prove of hostile requests: what HAProxy answers before us, and whom it lets wait.

The short list of its own answers is documented in docs/reference/errors.md.
"""

from __future__ import annotations

import re
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

BOUND_S = 60
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(stack):
    headers = {"Authorization": f"Bearer {stack.key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=BOUND_S) as c:
        yield c


def chat(**change):
    return {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4} | change


def raw(stack, data, *, wait=BOUND_S, drip=None):
    """Sends bytes unchanged and returns the received bytes, until the other side closes or `wait` has passed."""
    parts = urlsplit(stack.url)
    out = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=wait) as s:
        s.sendall(data)
        if drip:
            for piece in drip:
                time.sleep(0.3)
                s.sendall(piece)
        s.settimeout(wait)
        try:
            while chunk := s.recv(65536):
                out += chunk
                if b"\r\n\r\n" in out and b"connection: close" not in data.lower():
                    break
        except TimeoutError:
            pass
    return out


def test_the_page_and_its_files_pass_haproxy(stack, client):
    page = client.get("/c/conv_1")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    files = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text)
    assert len(files) == 2
    for file in files:
        answer = client.get(file, headers={"accept-encoding": "br"})
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "br")
    # The origin of the page is configured: where that is https, this plain address is another one.
    session = client.post("/auth/key", json={"key": stack.key}, headers={"sec-fetch-site": "same-origin"})
    assert session.json()["object"] == "session"


HAPROXY = {
    "oversized header": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 100_000 + b"\r\n\r\n",
    "space in the path": b"GET /v1/a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "no method": b"/v1/models\r\n\r\n",
}


@pytest.mark.parametrize("name", HAPROXY)
def test_haproxys_own_error_responses(stack, name):
    try:
        answer = raw(stack, HAPROXY[name])
    except ConnectionError:  # HAProxy closed before it had read everything, and the reset may overtake its answer
        assert name == "oversized header"
        return
    status = int(answer.split(b" ")[1])
    assert status in (400, 431, 505), answer[:200]


def test_every_answer_has_the_id_of_its_request(client):
    """Ray Serve assigns the id."""
    for path, status in (("/v1/models", 200), ("/v1/models/none", 404)):
        answer = client.get(path, headers={"x-request-id": "mine-1"})
        assert (answer.status_code, answer.headers.get_list("x-request-id")) == (status, ["mine-1"])
        assert len(client.get(path).headers["x-request-id"]) > 8


def test_request_smuggling_is_refused(stack):
    data = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert raw(stack, data).count(b"HTTP/1.1 200") == 0


def test_a_slow_body_occupies_no_admission_slot(stack, client):
    """A normal request is served while twenty clients never finish their bodies."""
    parts = urlsplit(stack.url)
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    ).encode()
    sockets = [socket.create_connection((parts.hostname, parts.port)) for _ in range(20)]
    try:
        for s in sockets:
            s.sendall(head)
        assert client.post(CHAT, json=chat()).status_code == 200
    finally:
        for s in sockets:
            s.close()


def test_the_stack_is_healthy_after_hostile_requests(client):
    assert client.get("/readyz").status_code == 200
    assert client.post(CHAT, json=chat()).status_code == 200
