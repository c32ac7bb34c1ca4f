"""A gateway with a model that takes adapters, an alias that releases manage, and an admin of two tenants."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from aiohttp import web

from serving.config import AdapterBounds, Alias, CallAccess, Catalog, GateLimits, LlamaCppModel, Managed
from serving.core.principal import Principal
from serving.hub.artefacts import Artefacts
from serving.hub.versions import Version, Versions
from serving.store.objects import data
from tests.callers.identity import key_of
from tests.contract.hub.replica import Replica
from tests.contract.running import Gateway, Loop, engine, gateway

T = TypeVar("T")
MODEL = LlamaCppModel(name="small", source="file:///small.gguf", adapters=AdapterBounds(max=2))
NO_WIN = GateLimits(min_win_rate=0)
CHAT = Alias(
    name="chat", managed=Managed(base="small", max_canary=0.5, gate=NO_WIN), access=CallAccess(tenants=("acme",))
)
SHARED = Alias(name="shared", managed=Managed(base="small", max_canary=0.5))
RIVALS = Alias(name="rivals", managed=Managed(base="small"), access=CallAccess(tenants=("globex",)))
ADA, RIVAL = Principal("acme", "ada", ""), Principal("globex", "rival", "")
NAME = "acme.docs.1"


async def made(up: Gateway, file: Path) -> Version:
    """A version of the tenant acme that is ready."""
    services = up.services
    versions = Versions(services.database, Artefacts(data.place(services.config.store, data.HUB)))
    begun = await versions.begin(
        ADA, name="docs", kind="adapter", base="small", base_digest="0" * 64, method="registered", rank=8
    )
    await versions.add(ADA, begun.id, "adapter.gguf", file)
    return await versions.finish(ADA, begun.id)


async def retire(up: Gateway, version: Version) -> None:
    services = up.services
    versions = Versions(services.database, Artefacts(data.place(services.config.store, data.HUB)))
    await versions.retire(ADA, version.id, "worse")


class World:
    """A gateway with the replica of a model, and an admin of two tenants."""

    def __init__(self, up: Gateway, replica: Replica) -> None:
        self.up, self.replica = up, replica
        self.clients = {}
        for who in (ADA, RIVAL):
            headers = {"Authorization": f"Bearer {up.loop.do(key_of(up.services, who, role='admin'))}"}
            self.clients[who.user] = httpx.Client(base_url=up.url, headers=headers, timeout=60, trust_env=False)

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        done: T = self.up.loop.do(coroutine)
        return done

    def ask(self, who: Principal, model: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        return self.clients[who.user].post("/v1/chat/completions", json=body)

    def post(self, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
        answer = self.clients["ada"].post(f"/v1/hub{path}", json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def answering(self, times: int = 30, who: Principal = ADA, alias: str = "chat") -> set[str]:
        """The models that answer a caller for an alias."""
        before = len(self.replica.asked)
        for _ in range(times):
            assert self.ask(who, alias).status_code == 200
        return {each["model"] for each in self.replica.asked[before:]}


@contextmanager
def live_world(folder: Path) -> Iterator[World]:
    """Serves them from a folder."""
    replica, loop = Replica(), Loop()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", replica.answer)
    (folder / "adapter").write_bytes(b"weights")
    catalog = Catalog(models=(MODEL,), aliases=(CHAT, RIVALS, SHARED))
    with loop, engine(loop, app) as port, gateway(loop, folder, catalog, handle_of=lambda name: replica) as up:
        replica.url = f"http://127.0.0.1:{port}/v1"
        made = World(up, replica)
        yield made
        for client in made.clients.values():
            client.close()
