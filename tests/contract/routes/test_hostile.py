"""Hostile requests and documents: always a 4xx in OpenAI's shape, in bounded time."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import httpx
import pytest

from tests.wait import eventually

BOUND_S = 60

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(whole):
    headers = {"Authorization": f"Bearer {whole.key}"}
    with httpx.Client(base_url=whole.url, headers=headers, timeout=BOUND_S) as c:
        yield c


def refused(response, *statuses):
    assert response.status_code in (statuses or range(400, 500)), response.text[:300]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def chat(**change):
    return {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4} | change


def deep(n):
    return "[" * n + "]" * n


RAW = {
    "empty": b"",
    "cut off": b'{"model":"smollm2","messages":[{"role":"us',
    "not json": b"<xml/>",
    "null": b"null",
    "array": b"[]",
    "lone surrogate": b'{"model":"smollm2","messages":[{"role":"user","content":"\\ud800"}]}',
    "invalid utf-8": b'{"model":"smollm2","messages":[{"role":"user","content":"\xff"}]}',
    "nan": b'{"model":"smollm2","temperature":NaN,"messages":[{"role":"user","content":"x"}]}',
    "1e400": b'{"model":"smollm2","temperature":1e400,"messages":[{"role":"user","content":"x"}]}',
    "deep": b'{"model":"smollm2","messages":' + deep(100_000).encode() + b"}",
    "deep tools": json.dumps(chat(tools=[{"type": "function", "function": {"name": "f"}}]))[:-3].encode()
    + b',"parameters":'
    + b'{"a":' * 200
    + b"1"
    + b"}" * 200
    + b"}}]}",
    "huge": b'{"model":"smollm2","messages":[{"role":"user","content":"' + b"a" * 10_000_000 + b'"}]}',
    "bom": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("name", RAW)
def test_broken_bodies_are_rejected(client, name):
    refused(client.post(CHAT, content=RAW[name], headers={"content-type": "application/json"}))


BODIES = {
    "no messages": chat(messages=[]),
    "100,000 messages": chat(messages=[{"role": "user", "content": "x"}] * 100_000),
    "a long prompt": chat(messages=[{"role": "user", "content": "word " * 300_000}]),
    "over the context": chat(messages=[{"role": "user", "content": "word " * 30_000}]),
    "unknown role": chat(messages=[{"role": "wizard", "content": "x"}]),
    "number as content": chat(messages=[{"role": "user", "content": 1}]),
    "null content": chat(messages=[{"role": "user", "content": None}]),
    "image": chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]),
    "unknown model": chat(model="gpt-99"),
    "model with a path": chat(model="../../etc/passwd"),
    "string temperature": chat(temperature="1"),
    "boolean n": chat(n=True),
    "n too large": chat(n=10_000),
    "negative max_tokens": chat(max_tokens=-1),
    "giant max_tokens": chat(max_tokens=2**40),
    "giant seed": chat(seed=2**62),
    "bad format": chat(response_format={"type": "yaml"}),
    "bad schema": chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "zzz"}}}
    ),
    "bad ref": chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/nope"}}}
    ),
    "stop too many": chat(stop=["a"] * 100),
    "stream as text": chat(stream="true"),
    "tool without call": chat(messages=[{"role": "tool", "content": "x"}]),
}


@pytest.mark.parametrize("name", BODIES)
def test_invalid_fields_are_rejected(client, name):
    refused(client.post(CHAT, json=BODIES[name]))


@pytest.mark.parametrize("value", ["\x00", "a\x00b", "\ufffe\uffff", "‮", "\u200b" * 100, "e" + "\u0301" * 200])
def test_odd_but_valid_text_is_answered(client, value):
    assert client.post(CHAT, json=chat(messages=[{"role": "user", "content": value}])).status_code == 200


def test_compression_is_refused_before_it_inflates(client):
    bomb = gzip.compress(b"0" * 50_000_000)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused(client.post(CHAT, content=bomb, headers=headers), 415)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
def test_other_media_types_are_rejected(client, kind):
    refused(client.post(CHAT, content=b"{}", headers={"content-type": kind}), 415)


@pytest.mark.parametrize(
    "key",
    [
        "x",
        "hr_",
        "hr_" + "a" * 43,
        "x" * 5000,
        "sk-123",
        "hr_\u00e9".encode(),
        "Bearer Bearer",
        "hr_' OR 1=1 --" + "a" * 29,
    ],
)
def test_invalid_keys_are_rejected(whole, key):
    value = b"Bearer " + (key if isinstance(key, bytes) else key.encode())
    for path in ("/v1/models", "/v1/files", "/v1/vector_stores"):
        refused(httpx.get(whole.url + path, headers={b"authorization": value}, timeout=BOUND_S), 401)
    refused(httpx.post(whole.url + CHAT, json=chat(), headers={b"authorization": value}, timeout=BOUND_S), 401)


def test_every_data_route_needs_a_key(whole):
    paths = httpx.get(whole.url + "/openapi.json", timeout=BOUND_S).json()["paths"]
    checked = 0
    for path, methods in paths.items():
        for method, operation in methods.items():
            if operation["security"]:
                url = whole.url + path.replace("{", "").replace("}", "")
                answer = httpx.request(method, url, timeout=BOUND_S)
                if path == "/mcp":  # its errors are JSON-RPC's
                    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (401, "invalid_api_key")
                else:
                    refused(answer, 401)
                checked += 1
    assert checked >= 20


@pytest.mark.parametrize("path", ["/v1", "/v1/models/", "/v2/models", "/v1/files/../../etc/passwd", "/v1/%2e%2e"])
def test_unknown_paths_are_not_found(client, path):
    refused(client.get(path), 404, 401)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/nope",
        "/v1/files/file-" + "a" * 400,
        "/v1/files/%00",
        "/v1/vector_stores/vs_x",
        "/v1/vector_stores/' OR 1=1 --",
        "/v1/vector_stores/vs_x/files/file-y",
        "/v1/models/%F0%9F%92%A9",
    ],
)
def test_unknown_objects_are_not_found(client, path):
    refused(client.get(path), 404)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1e9", "limit=-1", "limit=٣", "order=up", "after=%00", "limit=99999999999999"]
)
def test_invalid_pages_are_rejected(client, query):
    refused(client.get(f"/v1/files?{query}"), 400)


def upload(client, name, data, purpose="assistants"):
    return client.post("/v1/files", files={"file": (name, data)}, data={"purpose": purpose})


def docx_bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("word/document.xml", b"0" * 300_000_000)
    return out.getvalue()


DOCUMENTS = {
    "empty": ("a.txt", b""),
    "blank": ("a.txt", b" \n\t "),
    "unknown extension": ("a.exe", b"MZ"),
    "no extension": ("a", b"text"),
    "pdf by name only": ("a.pdf", b"plain text"),
    "text by name only": ("a.txt", b"%PDF-1.7 ..."),
    "invalid utf-8": ("a.txt", b"\xff\xfe\xfd\xfc\xfb"),
    "nul": ("a.txt", b"a\x00b"),
    "zip bomb": ("a.docx", docx_bomb),
    "zip": ("a.docx", b"PK\x03\x04broken"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_hostile_documents_are_refused_at_upload(client, name):
    file_name, data = DOCUMENTS[name]
    before = client.get("/v1/files").json()["data"]
    refused(upload(client, file_name, data() if callable(data) else data), 400)
    assert client.get("/v1/files").json()["data"] == before


@pytest.mark.parametrize("name", ["../../etc/passwd.txt", "a" * 300 + ".txt", "\x01.txt", ".txt"])
def test_file_names_cannot_climb(client, name):
    response = upload(client, name, b"harmless text")
    if response.status_code == 200:
        file = response.json()
        assert "/" not in file["filename"]
        assert client.delete(f"/v1/files/{file['id']}").status_code == 200
    else:
        refused(response, 400)


def test_broken_documents_fail_their_ingestion_and_nothing_else(client):
    store = client.post("/v1/vector_stores", json={"name": "hostile"}).json()["id"]
    broken = {
        "truncated.pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog",
        "good.md": b"# Good\n\nThe good document is still read.",
    }
    ids = {}
    for name, data in broken.items():
        response = upload(client, name, data)
        assert response.status_code == 200, response.text
        ids[name] = response.json()["id"]
        client.post(f"/v1/vector_stores/{store}/files", json={"file_id": ids[name]})
    state = {name: settled(client, store, i) for name, i in ids.items()}
    assert state["truncated.pdf"]["status"] == "failed"
    assert state["truncated.pdf"]["last_error"]["code"] == "unsupported_file"
    assert state["good.md"]["status"] == "completed"
    for i in ids.values():
        client.delete(f"/v1/files/{i}")
    client.delete(f"/v1/vector_stores/{store}")


def settled(client, store, file_id):
    def ended():
        state = client.get(f"/v1/vector_stores/{store}/files/{file_id}").json()
        return state if state["status"] != "in_progress" else None

    return eventually(ended, "the ingestion ends")


@pytest.mark.parametrize(
    "body",
    [
        b"--x\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nnot a file\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nno purpose\r\n--x--\r\n',
        b"--y\r\n",
        b"",
    ],
)
def test_broken_multipart_bodies_are_rejected(client, body):
    refused(client.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=x"}), 400)


def test_a_bad_request_id_is_refused(client):
    refused(client.get("/v1/models", headers={"x-request-id": "no spaces allowed"}), 400)
