"""A gateway with the real retrieval, but without Ray between them, for tests of ingestion."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn

from serving.api.app import Api
from serving.api.services import Services
from serving.config import SecretRef, ServingConfig, Store
from serving.retrieval.replica import RetrievalReplica

KEY = "hr_" + "k" * 43


class Handle:
    """A deployment's handle, without the deployment."""

    def __init__(self, replica: RetrievalReplica) -> None:
        async def call(method: str, *args: Any) -> Any:
            return await getattr(replica, method)(*args)

        self.call = SimpleNamespace(remote=call)


class Stack:
    """A gateway and a retrieval replica on a thread of their own."""

    def __init__(self, store: Store, folder: Path, port: int) -> None:
        folder.mkdir(exist_ok=True)
        self.key = folder / "key"
        self.key.write_text(KEY + "\n")
        (folder / "secret").write_text("s" * 32)
        self._config = ServingConfig(
            store=store,
            key_secret=SecretRef(ref=f"file:{folder}/secret"),
            bootstrap_key=SecretRef(ref=f"file:{self.key}"),
        )
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.calls: list[str] = []
        self.in_flight = 0
        """Requests that have not ended; those of a killed process go on without it."""

    def start(self) -> None:
        self._stop = threading.Event()
        up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(up)))
        self._thread.start()
        assert up.wait(60)

    async def _run(self, up: threading.Event) -> None:
        replica = RetrievalReplica(self._config)
        await replica.start()
        services = Services(self._config, Handle(replica), lambda name: None)  # type: ignore[arg-type, return-value]
        await services.start()
        api = Api(services)

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.calls.append(f"{scope['method']} {scope['path']}")
            self.in_flight += 1
            try:
                await api(scope, receive, send)
            finally:
                self.in_flight -= 1

        server = uvicorn.Server(uvicorn.Config(counted, port=self.port, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        up.set()
        await asyncio.to_thread(self._stop.wait)
        server.should_exit = True
        await serving
        for task in (replica._working, replica._housekeeping):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(t for t in (replica._working, replica._housekeeping) if t), return_exceptions=True)
        await services.close()
        await replica._database.close()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def search(self, name: str, query: str) -> list[str]:
        with httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False, timeout=60
        ) as client:
            (id,) = (s["id"] for s in client.get("/v1/vector_stores").json()["data"] if s["name"] == name)
            found = client.post(f"/v1/vector_stores/{id}/search", json={"query": query})
            return [hit["filename"] for hit in found.raise_for_status().json()["data"]]


@contextmanager
def as_user(stack: Stack, user: str | None = None) -> Iterator[httpx.Client]:
    """A client with a key of that user of the stack's tenant, which is made, or with the stack's own."""
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=stack.url, headers=headers, trust_env=False, timeout=60) as client:
        if user is not None:
            client.post("/v1/admin/users", json={"id": user}).raise_for_status()
            key = client.post("/v1/admin/keys", json={"name": user, "user": user}).raise_for_status().json()["key"]
            client.headers["authorization"] = f"Bearer {key}"
        yield client


def found(stack: Stack, names: set[str]) -> None:
    """Waits until a search finds just these: what was removed leaves the index in the background."""
    deadline = time.monotonic() + 60
    while set(stack.search("birds", "heron mill otter water")) != names and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(stack.search("birds", "heron mill otter water")) == names
