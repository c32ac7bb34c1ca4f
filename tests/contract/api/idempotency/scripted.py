"""Two gateways on one real store, before a scripted engine."""

from __future__ import annotations

import json
from itertools import count

from sqlalchemy import func, select

from serving.core.uninterrupted import uninterrupted
from serving.store import idempotency
from serving.store.relational import tables

KINDS = ["echo", "cut", "status-500", "slow"]


HI = [{"role": "user", "content": "hi"}]


CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES = "/v1/messages"


GENERATIONS = {
    CHAT: {"model": "echo", "messages": HI},
    COMPLETIONS: {"model": "echo", "prompt": "hi"},
    RESPONSES: {"model": "echo", "input": "hi"},
    MESSAGES: {"model": "echo", "messages": HI, "max_tokens": 8},
}


TEXT = "swordfish"


class World:
    def __init__(self, up, other, scripted, http):
        self.up, self.other, self.engine, self.http = up, other, scripted, http
        self._keys = count()

    def key(self):
        """Returns a key that nobody used."""
        return f"key-{next(self._keys)}"

    def post(self, path, body, key=None, gateway=None):
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post((gateway or self.up).url + path, json=body, headers=headers)

    def do(self, coroutine):
        return self.up.loop.do(coroutine)

    def count(self, table):
        @uninterrupted
        async def counted():
            query = select(func.count()).select_from(table)
            return await self.up.services.database.query(lambda connection: connection.execute(query).scalar_one())

        return self.do(counted())

    def kept(self):
        """Returns all that is kept of answers, as text."""

        @uninterrupted
        async def read():
            query = select(tables.idempotency_answers.c.body)
            return await self.up.services.database.query(lambda connection: connection.execute(query).scalars().all())

        return "".join(idempotency.base64.b64decode(body).decode() for body in self.do(read()))

    def made(self, path, text=TEXT):
        """Makes what a request to `path` names; returns its path, and its body, which says `text`."""
        if path == "/v1/feedback":
            return path, {"target": {"type": "session", "id": self.conversation()}, "comment": text}
        if path == "/v1/memories":
            return path, {"assistant": "knows", "text": f"{text} {self.key()}"}
        if path == "/v1/vector_stores":
            return path, {"name": text}
        if path.startswith("/v1/vector_stores/{store_id}/file"):
            store = self.post("/v1/vector_stores", {"name": "n"}).json()["id"]
            file = self.http.post(
                f"{self.up.url}/v1/files", data={"purpose": "assistants"}, files={"file": ("a.md", self.key().encode())}
            )
            id = file.json()["id"]
            return path.format(store_id=store), {"file_id": id} if path.endswith("/files") else {"file_ids": [id]}
        if path == "/v1/batches":
            lines = {"file": ("lines.jsonl", json.dumps({"custom_id": self.key()}).encode())}
            file = self.http.post(f"{self.up.url}/v1/files", data={"purpose": "batch"}, files=lines).json()["id"]
            asked = {"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"}
            return path, asked | {"metadata": {"said": text}}
        items = [{"type": "message", "role": "user", "content": text}]
        if path == "/v1/conversations":
            return path, {"items": items, "metadata": {"said": text}}
        if path == "/v1/shares":
            return path, {"conversation": self.post("/v1/conversations", {"items": items}).json()["id"]}
        if path == "/v1/conversations/{conversation_id}/items":
            return path.format(conversation_id=self.conversation()), {"items": items}
        if path == "/v1/conversations/{conversation_id}/fork":
            conversation = self.post("/v1/conversations", {"items": items}).json()["id"]
            item = self.http.get(f"{self.up.url}/v1/conversations/{conversation}/items").json()["data"][0]["id"]
            return path.format(conversation_id=conversation), {"after": item}
        return path, GENERATIONS[path]

    def conversation(self):
        return self.post("/v1/conversations", {}).json()["id"]


def refused(response, status, code):
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    return response


def same(first, second):
    """The second answer is the first one, said again."""
    assert (first.status_code, second.status_code) == (200, 200), (first.text, second.text)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
