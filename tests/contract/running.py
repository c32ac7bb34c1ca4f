"""The gateway as a server of its own: a real store, and real HTTP to it and to its engines."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from aiohttp import web

from serving.api.app import Api
from serving.api.services import Services
from serving.config import (
    Catalog,
    Cors,
    Limits,
    Oidc,
    PrometheusServer,
    PromptCache,
    SecretRef,
    ServingConfig,
    Store,
    Tracing,
    Tuning,
)
from serving.security.keys import new_key
from tests.store import migrated
from tests.wait import eventually

if TYPE_CHECKING:
    import openai


def request_lines(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The log's lines of requests, among all that was logged."""
    return [record for record in caplog.records if record.name == "headrace.requests"]


class Loop(threading.Thread):
    """An event loop in a thread, for servers; it ends with its `with`, or by `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.loop = asyncio.new_event_loop()
        self.start()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self) -> None:
        self.loop.run_forever()

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(120)

    def stop(self) -> None:
        """Ends what still runs (handlers whose connection a test cut), then the loop."""
        self.do(_cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for pending in left:
        pending.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@contextmanager
def engine(loop: Loop, app: web.Application, *, cancels: bool = False) -> Iterator[int]:
    """Serves `app` and yields its port. With `cancels` a handler is cancelled when its caller hangs up."""

    async def start() -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=cancels)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, site._server.sockets[0].getsockname()[1]  # ty: ignore[missing-attribute]

    runner, port = loop.do(start())
    yield port
    loop.do(runner.cleanup())


def hang_up(
    client: httpx.Client, body: dict[str, Any], asked: Callable[[], object], path: str = "/v1/chat/completions"
) -> None:
    """Asks as `client` does, and hangs up once the engine is `asked`."""
    connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=300)
    headers = {**dict(client.headers), "content-type": "application/json"}
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), headers)
        eventually(asked, "the engine is asked")


@dataclass(frozen=True)
class Gateway:
    url: str
    key: str
    services: Services
    loop: Loop

    def client(self, path: str = "") -> httpx.Client:
        """Asks with the gateway's first key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url + path, headers=headers, timeout=300, trust_env=False)

    def sdk(self) -> openai.OpenAI:
        """OpenAI's SDK with that key, which asks once."""
        import openai  # not for those who ask by HTTP alone

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)


@contextmanager
def gateway(
    loop: Loop,
    folder: Path,
    catalog: Catalog,
    *,
    limits: Limits | None = None,
    retrieval: Any = None,
    handle_of: Callable[[str], Any] = lambda name: None,
    database: str | None = None,
    oidc: Oidc | None = None,
    cors: Cors | None = None,
    port: int = 0,
    key_secret: str = "h" * 40,
    previous: str | None = None,
    tracing: Tracing | None = None,
    prompt_cache: PromptCache = "tenant",
    drop_unsupported_params: bool = False,
    tuning: Tuning | None = None,
    prometheus: PrometheusServer | None = None,
) -> Iterator[Gateway]:
    """Serves the API over `database`, by default one of SQLite in `folder`, which another gateway may have made."""
    key = (folder / "key").read_text() if (folder / "key").exists() else new_key()
    own = f"sqlite:///{folder / 'h.db'}"
    if not database and not (folder / "h.db").exists():
        migrated.sqlite_at(own)
    (folder / "hash").write_text(key_secret)
    (folder / "previous").write_text(previous or "")
    (folder / "key").write_text(key)
    config = ServingConfig(
        store=Store(database=database or own, data=str(folder)),
        key_secret=SecretRef(ref=f"file:{folder / 'hash'}"),
        key_secret_previous=SecretRef(ref=f"file:{folder / 'previous'}") if previous else None,
        bootstrap_key=SecretRef(ref=f"file:{folder / 'key'}"),
        limits=limits or Limits(),
        oidc=oidc or Oidc(),
        cors=cors or Cors(),
        tracing=tracing or Tracing(),
        prompt_cache=prompt_cache,
        drop_unsupported_params=drop_unsupported_params,
        tuning=tuning or Tuning(),
        prometheus=prometheus or PrometheusServer(),
    )

    async def start() -> tuple[Services, uvicorn.Server, asyncio.Task[None]]:
        services = Services(config, retrieval, handle_of)
        await services.start()
        services.configure(catalog)
        server = uvicorn.Server(uvicorn.Config(Api(services), port=port, log_level="critical", lifespan="off"))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        return services, server, task

    async def stop() -> None:
        server.should_exit = True
        await task
        await services.close()

    services, server, task = loop.do(start())
    yield Gateway(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", key, services, loop)
    loop.do(stop())
