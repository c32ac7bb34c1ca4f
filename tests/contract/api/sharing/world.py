"""A gateway with people who share conversations, before a scripted engine and a scripted retrieval."""

from __future__ import annotations

from typing import Any

import httpx

from serving.core.principal import Principal, Role
from serving.retrieval.types import Attribution, Citation, Hit, Position
from tests.callers.identity import key_of
from tests.contract.campaigns.engine import Engine
from tests.contract.running import Gateway

SECRET = "the merger closes in May"
QUOTE = "The merger closes in May."


class Insider(Engine):
    """Tells what it was told to, whatever it is asked."""

    says = SECRET
    before: tuple[str, ...] = ()
    """What a strategy's model says first."""

    def said(self, messages: list[dict[str, Any]]) -> str:
        if self.before:
            said, *rest = self.before
            self.before = tuple(rest)
            return said
        return self.says


class Retrieval:
    """Finds the passages that it is told to; an answer cites them only if `cites`."""

    def __init__(self) -> None:
        self.call = self
        self.files: list[str] = []
        self.cites = False
        self.local: tuple[str, ...] = ()

    async def remote(self, method: str, *args: Any) -> Any:
        if method == "attribute":
            at = Position(0, len(QUOTE), None)
            cited = Citation(0, 5, self.files[0], "m.md", "Merger", QUOTE, at, 0.9) if self.cites else None
            return Attribution((cited,) if cited is not None else (), ())
        return [Hit(f"c{id}", id, "m.md", "Merger", "", QUOTE, 0, 25, None, 0.9, 0.9, 0.0) for id in self.files]


class World:
    def __init__(self, up: Gateway, scripted: Insider, retrieval: Retrieval) -> None:
        self.up, self.engine, self.retrieval = up, scripted, retrieval
        self.ann, self.bob, self.other = self.client("acme", "ann"), self.client("acme", "bob"), self.client("o", "ann")

    def client(self, tenant: str, user: str, role: Role = "user", scopes: Any = None) -> httpx.Client:
        key = self.up.loop.do(key_of(self.up.services, Principal(tenant, user, ""), role=role, scopes=scopes))
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.up.url, headers=headers, timeout=60, trust_env=False)

    def file(self, access: str | None = None) -> str:
        form = {"purpose": "assistants"} | ({"access": access} if access is not None else {})
        return str(made(self.ann.post("/v1/files", data=form, files={"file": ("m.md", QUOTE.encode())}))["id"])

    def talk(self, *questions: str, **more: Any) -> str:
        id = str(made(self.ann.post("/v1/conversations", json={}))["id"])
        for question in questions:
            self.ask(id, question, **more)
        return id

    def ask(self, id: str, question: Any = "What is new?", **more: Any) -> httpx.Response:
        messages = question if isinstance(question, list) else [{"role": "user", "content": question}]
        asked = {"model": "m", "messages": messages, "conversation": id, **more}
        answer = self.ann.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 200, answer.text
        return answer

    def finds(self, *files: str, cites: bool = False) -> dict[str, Any]:
        """Lets the next answers read these files; returns the field that asks for it."""
        self.retrieval.files, self.retrieval.cites = list(files), cites
        store = made(self.ann.post("/v1/vector_stores", json={"name": "s"}))["id"]
        for file in files:
            made(self.ann.post(f"/v1/vector_stores/{store}/files", json={"file_id": file}))
        return {"knowledge": {"vector_store_ids": [store]}}

    def share(self, id: str, **more: Any) -> str:
        return str(made(self.ann.post("/v1/shares", json={"conversation": id, **more}))["id"])


def made(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def items(who: httpx.Client, id: str, **asked: Any) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = made(who.get(f"/v1/shares/{id}/items", params=asked))["data"]
    return data


def seen(who: httpx.Client, id: str) -> list[str]:
    """What a reader sees of each item: its text, or why there is none."""
    return [item["withheld"] or item["text"] for item in items(who, id)]
