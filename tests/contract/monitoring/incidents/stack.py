"""What the gateways of the incidents serve: a model for each trouble, an assistant with documents, and two replicas."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from serving.config import Alias, Assistant, Catalog, Limits, Managed, RemoteModel, SecretRef, ServingConfig, VllmModel

STEADY, BRIEF, METERED, KEYED, BASE, CANARY, TWINS = "steady", "brief", "metered", "keyed", "base", "canary", "twins"
ALIAS, READER, BOOKS = "chat", "reader", "books"
KEY_FILE = "provider-key"
TWINS_FILE = "twins.json"
"""The ports of the replicas' engines, by the replicas' ids."""
PLACES, QUEUE = 12, 60
LIMITS = Limits(in_flight=PLACES, queue=QUEUE, queue_timeout_s=120)


def catalog(engine: int, nobody: int, folder: Path) -> Catalog:
    """Returns what is served, by the provider at one port; nobody is asked at the other."""
    url = f"http://127.0.0.1:{engine}/v1"
    key = SecretRef(ref=f"file:{folder / KEY_FILE}")
    models = (
        *(RemoteModel(name=name, url=url, retries=0) for name in (STEADY, BRIEF, METERED, BASE, CANARY)),
        RemoteModel(name=KEYED, url=url, retries=0, api_key=key),
        VllmModel(name=TWINS, source="file:///models/twins"),
    )
    return Catalog(
        models=models,
        aliases=(Alias(name=ALIAS, managed=Managed(base=BASE, max_canary=0.5)),),
        assistants=(Assistant(name=READER, model=STEADY, guardrails=(), knowledge=(BOOKS,)),),
    )


async def deployments(config: ServingConfig, catalog: Catalog) -> tuple[Any, Callable[[str], Any]]:
    """Returns the handle of retrieval, and what returns the handle of a model.

    Replicas of retrieval and of engines run in the gateway's process; all that Serve would do is call them.
    """
    from serving.retrieval.replica import RetrievalReplica  # not for those who only read what is served

    replica = RetrievalReplica(config)
    replica.configure(catalog)
    await replica.start()
    ports: dict[str, int] = json.loads((Path(config.store.data) / TWINS_FILE).read_text())
    return Retrieval(replica), lambda name: Replicas(ports)


class Retrieval:
    """The handle of a retrieval replica."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica
        self.call = self

    async def remote(self, method: str, *args: Any) -> Any:
        return await getattr(self._replica, method)(*args)


class Replicas:
    """The handle of a model with several replicas, which distributes leases at random."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._replicas = [_replica(id, port) for id, port in ports.items()]
        self.lease = self

    def options(self, *, stream: bool) -> Replicas:
        assert stream
        return self

    def remote(self, owner: str, user: str) -> Lease:
        return Lease(random.choice(self._replicas).lease(owner, user))


class Lease:
    """What Serve returns for a call that yields: Serve asks for the next item as soon as it has one."""

    def __init__(self, generator: AsyncIterator[dict[str, Any]]) -> None:
        self._generator = generator
        self._rest: asyncio.Task[None] | None = None

    async def __anext__(self) -> dict[str, Any]:
        granted = await anext(self._generator)
        self._rest = asyncio.create_task(self._end())
        return granted

    def cancel(self) -> None:
        if self._rest is not None:
            self._rest.cancel()

    async def _end(self) -> None:
        async for _ in self._generator:
            raise AssertionError("a lease is one item")


def _replica(id: str, port: int) -> Any:
    from serving.app import Model
    from serving.engines.measures.lease_times import LeaseTimes
    from serving.engines.replica import EngineReplica

    class Replica(Model):
        """A replica whose engine runs elsewhere, outside of Serve."""

        def __init__(self) -> None:
            address = {"prefix": "vllm:", "url": f"http://127.0.0.1:{port}", "key": "k"}
            self._id = id
            self._times = LeaseTimes(TWINS, id)
            self._replica = EngineReplica("vLLM", TWINS, slots=PLACES, started=time.perf_counter(), **address)

    return Replica()
