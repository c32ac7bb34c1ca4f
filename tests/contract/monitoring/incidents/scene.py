"""The stack of the incidents while all is well: four tenants ask every model and the assistant, all the time."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.monitoring.accountant.client import CHAT, GUARD_S, Caller
from tests.contract.monitoring.accountant.ledger import Entry
from tests.contract.monitoring.accountant.world import Prometheus, World, standing
from tests.contract.monitoring.incidents.incident import FLOODING, SLOW, THRIFTY
from tests.contract.monitoring.incidents.provider import Provider
from tests.contract.monitoring.incidents.stack import (
    BOOKS,
    BRIEF,
    KEY_FILE,
    KEYED,
    METERED,
    READER,
    STEADY,
    TWINS,
    TWINS_FILE,
)
from tests.contract.running import Loop, engine
from tests.wait import eventually
from tools.binaries import gobuild

TENANTS = ("calm", "quiet", FLOODING, THRIFTY)
EVERY_S = 0.15
"""Time between two of the usual requests."""
ASKED = (STEADY, BRIEF, METERED, KEYED, TWINS, READER)
BUDGET = 20
"""Requests a month of one user of the thrifty tenant."""
KEY = "provider-key-1"
BOOK = b"# The heron\n\nThe grey heron eats fish, frogs and mice. It hunts alone, and stands still in shallow water.\n"
QUESTION = "What does the grey heron eat?"
STACK = "tests.contract.monitoring.incidents.stack"


class Scene:
    """What an incident can change, and who asks."""

    def __init__(self, world: World, provider: Provider, twins: dict[str, Provider]) -> None:
        self.world = world
        self.client = world.client
        self.provider = provider
        self.twins = twins
        """The engines of the replicas, by the replicas' ids."""
        self.slow_disk = world.folder / "slow-disk"
        headers = {"authorization": f"Bearer {world.operator.key}"}
        self.admin = httpx.Client(base_url=self.client.urls[0], headers=headers, timeout=GUARD_S, trust_env=False)
        self.callers: dict[str, Caller] = {}
        self.spender: Caller
        self.store, self.book = "", ""
        self._over = asyncio.Event()

    def call(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """Asks as the operator, and returns the answer."""
        answer = self.admin.request(method, path, **given)
        assert answer.status_code == 200, (path, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    def settle(self) -> None:
        """Makes the tenants with a user each, one user's budget, and the collection with its document."""
        for tenant in TENANTS:
            self.call("POST", "/v1/admin/tenants", json={"id": tenant})
            self.callers[tenant] = self._user(tenant, "ann")
        self.spender = self._user(THRIFTY, "spender")
        quota = {"subject": "user", "id": "spender", "window": "month", "measure": "requests", "limit": BUDGET}
        self.call("PUT", f"/v1/admin/quotas?tenant={THRIFTY}", json={"quotas": [quota]})
        self.world.run(self.ask(self.spender, STEADY))  # a budget that was never used is not drawn
        given = {"data": {"purpose": "assistants"}, "files": {"file": ("heron.md", BOOK)}}
        self.book = self.call("POST", "/v1/files", **given)["id"]
        self.store = self.call("POST", "/v1/vector_stores", json={"name": BOOKS, "file_ids": [self.book]})["id"]
        path = f"/v1/vector_stores/{self.store}"
        eventually(lambda: self.call("GET", path)["file_counts"]["completed"], "the document is indexed", GUARD_S)

    def _user(self, tenant: str, user: str) -> Caller:
        self.call("POST", f"/v1/admin/users?tenant={tenant}", json={"id": user, "role": "user"})
        made = self.call("POST", f"/v1/admin/keys?tenant={tenant}", json={"user": user})
        return Caller(tenant, user, made["key"])

    async def ask(self, caller: Caller, model: str, gateway: int = 0) -> Entry:
        """Asks a model, or the assistant about its document."""
        if model != READER:
            return await self.client.ask(caller, model, self.client.script(), gateway=gateway)
        entry = self.client.entry(caller, CHAT)
        body = {"model": READER, "messages": [{"role": "user", "content": QUESTION}]}
        await self.client.send(entry, caller, body, gateway=gateway)
        return entry

    async def usual(self) -> None:
        """Asks every model and the assistant for every tenant, until it is `stop`ped."""
        number = 0
        async with asyncio.TaskGroup() as asking:
            while not self._over.is_set():
                turn, place = divmod(number, len(ASKED))
                # The replicas are in the process of one gateway.
                gateway = 0 if ASKED[place] == TWINS else turn % 2
                caller = self.callers[TENANTS[turn % len(TENANTS)]]
                asking.create_task(self.ask(caller, ASKED[place], gateway))
                number += 1
                await asyncio.sleep(EVERY_S)

    def stop(self) -> None:
        self.world.loop.loop.call_soon_threadsafe(self._over.set)


@contextmanager
def scene(folder: Path) -> Iterator[tuple[Scene, Prometheus]]:
    """Yields the stack with the usual traffic, and the Prometheus that watches it."""
    library = _slow_disk(folder)
    (folder / KEY_FILE).write_text(KEY)
    provider = Provider()
    twins = {id: Provider() for id in ("one", SLOW)}
    environment = {"LD_PRELOAD": str(library), "SLOW_DISK": str(folder / "slow-disk")}
    with ExitStack() as opened:
        loop = opened.enter_context(Loop())
        ports = {id: opened.enter_context(engine(loop, each.app())) for id, each in twins.items()}
        (folder / TWINS_FILE).write_text(json.dumps(ports))
        world = opened.enter_context(standing(folder, provider, stack=STACK, environment=environment))
        made = Scene(world, provider, twins)
        opened.callback(made.admin.close)
        made.settle()
        usual: Future[None] = asyncio.run_coroutine_threadsafe(made.usual(), world.loop.loop)
        opened.callback(lambda: usual.result(GUARD_S))  # also tells what went wrong
        opened.callback(made.stop)
        prometheus = Prometheus(world.exporter)
        opened.callback(prometheus.close)
        yield made, prometheus


def _slow_disk(folder: Path) -> Path:
    compiler = gobuild.c_compiler()
    if compiler is None:
        pytest.skip("no C compiler is installed")
    source, made = Path(__file__).with_name("slow_disk.c"), folder / "slow_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", made, source], check=True)
    return made
