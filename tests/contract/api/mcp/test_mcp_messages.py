"""Messages of the Model Context Protocol as they are: versions, envelopes, origins, and what is no request."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.contract.api.mcp.speaking import ENVELOPE, HANDSHAKE, message, tool

META = {
    "io.modelcontextprotocol/protocolVersion": ENVELOPE,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def enveloped(method="tools/list", **params):
    return message(method, {"_meta": META, **params})


def error(answer, status=400):
    """Returns the error of an answer in JSON-RPC's format."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"jsonrpc", "id", "error"}
    assert told["jsonrpc"] == "2.0"
    return told["error"]


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", HANDSHAKE),
    ],
)
def test_a_handshake_settles_a_version(world, asked, spoken):
    client = {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    answer = world.post(message("initialize", client))
    told = answer.json()["result"]
    assert (told["protocolVersion"], told["serverInfo"]["name"]) == (spoken, "headrace")
    assert told["capabilities"]["tools"] == {"listChanged": False}
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize("version", [None, "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_no_session_is_needed(world, version):
    """A request stands for itself: no handshake went before it, and an unknown session has no effect."""
    headers = {"mcp_protocol_version": version} if version is not None else {}
    answer = world.post(message(id="a"), mcp_session_id="of-somebody-else", **headers)
    assert answer.json()["id"] == "a"
    assert "ask" in {tool["name"] for tool in answer.json()["result"]["tools"]}
    assert world.post(message("ping"), **headers).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}


def test_an_envelope_is_needed_by_new_versions(world):
    headers = {"mcp_protocol_version": ENVELOPE, "mcp_method": "tools/list"}
    told = world.post(enveloped(), **headers).json()["result"]
    assert (told["resultType"], told["cacheScope"], told["ttlMs"]) == ("complete", "private", 0)
    assert error(world.post(message(), **headers))["code"] == -32602
    assert error(world.post(enveloped(), **headers | {"mcp_method": "tools/call"}))["code"] == -32020
    call = enveloped("tools/call", name="list_models", arguments={})
    named = headers | {"mcp_method": "tools/call"}
    assert error(world.post(call, mcp_name="search", **named))["code"] == -32020
    assert not world.post(call, mcp_name="list_models", **named).json()["result"]["isError"]
    assert error(world.post(enveloped("none"), **headers | {"mcp_method": "none"}), 404)["code"] == -32601


def test_a_routing_header_is_sent_once(world):
    headers = [
        ("authorization", f"Bearer {world.up.key}"),
        ("mcp-protocol-version", ENVELOPE),
        ("mcp-method", "tools/list"),
        ("mcp-method", "tools/call"),
    ]
    answer = httpx.post(f"{world.up.url}/mcp", json=enveloped(), headers=headers, timeout=60)
    assert error(answer)["code"] == -32020


@pytest.mark.parametrize("version", ["1.0", "2027-01-01", "", "x" * 5000])
def test_an_unknown_version_is_refused_with_those_that_are_known(world, version):
    told = error(world.post(message(), mcp_protocol_version=version))
    assert told["code"] == -32022
    assert told["data"]["supported"] == [ENVELOPE]


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/cancelled", "none"])
@pytest.mark.parametrize("version", [HANDSHAKE, ENVELOPE])
def test_a_notification_is_received_and_has_no_effect(world, method, version):
    body = {"jsonrpc": "2.0", "method": method, "params": {"requestId": 1}}
    answer = world.post(body, mcp_protocol_version=version)
    assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"null", -32700),
        (json.dumps([message(), message()]).encode(), -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 100 + b"1" + b"}" * 101, -32700),
        (b"{}", -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
    ],
)
def test_what_is_no_message_is_refused(world, body, code):
    answer = world.http.post("/mcp", content=body, headers={"content-type": "application/json"})
    told = error(answer)
    assert (told["code"], answer.json()["id"]) == (code, None)
    assert set(told["data"]) == {"type", "param", "code"}


def test_huge_and_foreign_bodies_are_refused(world):
    huge = world.post(tool("ask", model="echo", question="x" * 200_000))
    assert error(huge, 413)["data"]["code"] == "request_too_large"
    assert error(world.http.post("/mcp", content=b"a=1", headers={"content-type": "text/plain"}), 415)
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    assert error(world.http.post("/mcp", content=b"x", headers=packed), 415)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("none", {}, -32601),
        ("prompts/list", {}, -32601),
        ("subscriptions/listen", {}, -32601),
        ("tools/call", {}, -32602),
        ("tools/call", {"name": 1}, -32602),
        ("tools/call", {"name": "ask", "arguments": []}, -32602),
        ("tools/call", {"name": "nothing"}, -32602),
        ("tools/list", {"cursor": "x"}, -32602),
        ("tools/list", {"cursor": 1}, -32602),
        ("initialize", {}, -32602),
    ],
)
def test_wrong_requests_are_answered_with_their_id(world, method, params, code):
    answer = world.post(message(method, params, id=77))
    assert error(answer, 200)["code"] == code
    assert answer.json()["id"] == 77


def test_an_unknown_tool_is_named(world):
    told = error(world.post(tool("delete`everything")), 200)
    assert told["message"] == "There is no tool `delete?everything`."


def test_a_mistake_of_the_server_is_told_without_its_words(world, monkeypatch):
    def broken(x):
        raise RuntimeError("the password is swordfish")

    world.post(message())  # the server is imported with the first request
    monkeypatch.setattr("serving.api.mcp.server.tools_for", broken)
    answer = world.post(message(id="a"))
    told = error(answer, 500)
    assert (told["code"], told["data"]["code"], answer.json()["id"]) == (-32603, "internal_error", "a")
    assert "swordfish" not in answer.text


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_there_are_no_streams_and_no_sessions_to_end(world, method):
    headers = {"accept": "text/event-stream", "mcp-session-id": "x"}
    answer = world.http.request(method, "/mcp", headers=headers)
    assert error(answer, 405)["data"]["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("key", [None, "hr_" + "a" * 43])
def test_a_key_is_needed(world, key):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = httpx.post(f"{world.up.url}/mcp", json=message(), headers=headers, timeout=60)
    assert error(answer, 401)["data"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


ATTACKER = "attacker.example:8080"


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, ATTACKER, 200),
        ("http://attacker.example", None, 403),
        ("null", None, 403),
        (f"http://{ATTACKER}", ATTACKER, 403),  # its name leads to this server: of the same origin for a browser
        (f"https://{ATTACKER}", ATTACKER, 200),  # its certificate is this server's, so its name is too
        ("https://attacker.example", ATTACKER, 403),
        ("http://localhost:8080", "localhost:8080", 200),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", 200),
        ("http://[::1]:8080", "[::1]:8080", 200),
        ("http://10.0.0.7:8080", "10.0.0.7:8080", 200),
        ("http://localhost.attacker.example", "localhost.attacker.example", 403),
        ("http://127.0.0.1:8080", "127.0.0.1:9090", 403),
        ("http://", "", 403),
    ],
)
def test_pages_of_other_origins_are_refused(world, origin, host, status):
    headers = {"origin": origin} if origin is not None else {}
    if host is not None:
        headers["host"] = host
    answer = world.http.post("/mcp", json=message(), headers=headers)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert error(answer, 403)["data"]["code"] == "cross_origin"
