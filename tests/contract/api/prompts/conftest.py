"""Two gateways over one store, before an engine that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from serving.config import (
    Assistant,
    Catalog,
    InjectionGuardrail,
    Limits,
    PiiGuardrail,
    RemoteModel,
    SecretsGuardrail,
)
from serving.core.principal import SCOPES_OF, Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.relational.tables import captures
from tests.callers.identity import key_of
from tests.contract.campaigns.engine import Engine
from tests.contract.running import Gateway, Loop, engine, gateway
from tests.wait import eventually

PROMPTS = "/v1/prompts"
RESPONSES = "/v1/responses"


class Recording(Engine):
    """The engine, which remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[dict[str, Any]]] = []

    def said(self, messages: list[dict[str, Any]]) -> str:
        self.asked.append(messages)
        return "echo"


class PromptWorld:
    """The gateways and their callers: of one tenant ann, bob, the developer dev, an operator and an admin."""

    def __init__(self, ups: list[Gateway], scripted: Recording, folder: Path) -> None:
        self.ups, self.engine, self.folder = ups, scripted, folder
        self.ann, self.bob, self.other = self.client("acme", "ann"), self.client("acme", "bob"), self.client("o", "ann")
        self.dev = self.client("acme", "dev", scopes=SCOPES_OF["user"] | {"prompt"})
        self.op = self.client("acme", "op", role="operator")
        self.boss = self.client("acme", "boss", role="admin")
        self.elsewhere = self.client("acme", "bob", up=1)

    def client(self, tenant: str, user: str, *, up: int = 0, **more: Any) -> httpx.Client:
        running = self.ups[up]
        key = running.loop.do(key_of(running.services, Principal(tenant, user, ""), **more))
        return httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)

    def make(self, name: str, *texts: str, who: httpx.Client | None = None) -> str:
        """Makes a prompt with these versions, and returns its id."""
        who = who or self.ann
        made = who.post(PROMPTS, json={"name": name, "text": texts[0]})
        assert made.status_code == 200, made.text
        for text in texts[1:]:
            assert who.post(f"{PROMPTS}/{made.json()['id']}/versions", json={"text": text}).status_code == 200
        return str(made.json()["id"])

    def label(self, id: str, version: int, label: str = "production", who: httpx.Client | None = None) -> None:
        moved = (who or self.ann).put(f"{PROMPTS}/{id}/labels/{label}", json={"version": version})
        assert moved.status_code == 200, moved.text

    @contextmanager
    def busy(self) -> Iterator[None]:
        """All places for background responses are taken meanwhile: further ones wait."""
        self.engine.going_on.clear()
        try:
            asked = len(self.engine.asked)
            held = [respond(self.ann, background=True).json()["id"] for _ in self.ups]
            eventually(lambda: len(self.engine.asked) == asked + len(held), "they are being answered")
            yield
        finally:
            self.ups[0].loop.loop.call_soon_threadsafe(self.engine.going_on.set)

    def told(self) -> list[Any]:
        """The messages of the last request that the engine got."""
        return [message["content"] for message in self.engine.asked[-1]]

    def events(self) -> list[tuple[str, str]]:
        """Actions and targets in the audit log, newest first, without those of reading it."""
        found = self.boss.get("/v1/admin/audit", params={"limit": 100}).json()["data"]
        return [(event["action"], event["target"]) for event in found if event["action"] != "audit.read"]

    def captured(self, id: str) -> dict[str, Any]:
        up = self.ups[0]

        @uninterrupted
        async def read() -> dict[str, Any]:
            async with up.services.database.read() as connection:
                found = await connection.execute(select(captures).where(captures.c.id == id))
                return dict(found.mappings().one())

        return up.loop.do(read())  # type: ignore[no-any-return]


def respond(who: httpx.Client, id: str | None = None, **more: Any) -> httpx.Response:
    """Asks for a response with a prompt; what begins with `prompt_` belongs to the prompt."""
    prompt = {name.removeprefix("prompt_"): more.pop(name) for name in list(more) if name.startswith("prompt_")}
    named = {"prompt": {"id": id, **prompt}} if id is not None else {}
    return who.post(RESPONSES, json={"model": "m", "input": "hi", **named, **more})


def error(answer: httpx.Response) -> tuple[int, str, str | None]:
    """The status, code and field of an error."""
    told = answer.json()["error"]
    return answer.status_code, told["code"], told["param"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PromptWorld]:
    scripted, folder = Recording(), tmp_path_factory.mktemp("prompts")
    with Loop() as loop, engine(loop, scripted.app()) as port:
        catalog = Catalog(
            models=(RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", tokenizer="vllm"),),
            assistants=(
                Assistant(name="closed", model="m", prompt="Closed.", instructions="refuse"),
                Assistant(name="trusting", model="m", instructions="trust"),
            ),
            guardrails=(
                SecretsGuardrail(on=("input",), action="block"),
                PiiGuardrail(on=("input",)),
                InjectionGuardrail(on=("input",)),
            ),
        )
        limits = Limits(characters=20_000, background_in_flight=1)
        with (
            gateway(loop, folder, catalog, limits=limits) as first,
            gateway(loop, folder, catalog, limits=limits) as second,
        ):
            yield PromptWorld([first, second], scripted, folder)
