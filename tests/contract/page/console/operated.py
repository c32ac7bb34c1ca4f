"""A stack with something of each kind that the console shows, and people who operate it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from serving.config import AdapterBounds, Alias, Catalog, LlamaCppModel, Managed, RemoteModel, Target
from serving.core.principal import STACK, Principal
from serving.store.jobs.job import ERASE, ERASURE
from tests.callers.identity import key_of
from tests.contract.hub.answering import Answering
from tests.contract.page.world import Shown
from tests.contract.running import Gateway
from tests.hub.adapters import write_base
from tests.servers.browser import Chromium

SUITE = {
    "name": "numbers",
    "prompts": [
        *({"id": f"p{n}", "messages": f"{n}?", "checks": [{"kind": "exact", "text": str(n)}]} for n in range(3)),
        {"id": "other", "group": "off_task", "messages": "0?", "checks": [{"kind": "length", "max_characters": 99}]},
    ],
}
HOSTILE = '<img src=x onerror="alert(1)">'


def right(message: str) -> tuple[str, str]:
    return message.removesuffix("?"), "stop"


def scripted() -> Answering:
    return Answering(small=right, other=right)


def catalog(folder: Path, port: int) -> Catalog:
    """Two models that answer, one that takes adapters, an alias with fixed targets and one that releases manage."""
    models = tuple(RemoteModel(name=name, url=f"http://127.0.0.1:{port}/v1") for name in ("small", "other"))
    base = f"file://{write_base(folder / 'base.gguf')}"
    tunable = LlamaCppModel(name="tunable", source=base, adapters=AdapterBounds(max=2))
    fixed = Alias(name="fixed", targets=(Target(model="small", weight=3), Target(model="other")))
    managed = Alias(name="managed", managed=Managed(base="small", max_canary=0.5))
    tuned = Alias(name="tuned", managed=Managed(base="tunable"))
    return Catalog(models=(*models, tunable), aliases=(fixed, managed, tuned))


class Operated:
    """The stack. `http` asks with its own key, which has every scope."""

    def __init__(self, up: Gateway, browser: Chromium, folder: Path) -> None:
        self.up, self.browser, self.folder = up, browser, folder
        self.http = up.client()
        self.ids: dict[str, str] = {}

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def fill(self, tenant: str = HOSTILE) -> None:
        """Makes something of each kind."""
        ids = self.ids
        self.post("/v1/admin/tenants", id="acme", name=tenant)
        self.post("/v1/admin/users", id="ann", role="operator", groups=["sea", "land"])
        ids["key"] = self.post("/v1/admin/keys", user="ann", name="hers")["id"]
        quota = {"subject": "user", "id": "ann", "window": "day", "measure": "requests", "limit": 9000}
        self.http.put("/v1/admin/quotas", json={"quotas": [quota]}).raise_for_status()
        self.post("/v1/admin/webhooks", url="https://example.com/hook", events=["batch.completed"])
        ids["store"] = self.post("/v1/vector_stores", name="Sea charts")["id"]
        ids["file"] = self._upload("sea.txt", b"The sea is deep.", "assistants")
        self.post(f"/v1/vector_stores/{ids['store']}/files", file_id=ids["file"])
        self._tune()
        self._ask()
        self.post("/v1/admin/erasures", user="ann", dry_run=True)
        self.work(users=1)

    def work(self, **counts: int) -> None:
        """Ends the erasure that waits, with these counts: its workers are in a process that is not there."""
        jobs = self.up.services.jobs

        async def end() -> None:
            job = await jobs.claim((ERASE,), "a test", 60, lane=ERASURE)
            assert job is not None
            await jobs.complete(job, {"counts": counts})

        self.up.loop.do(end())

    def _tune(self) -> None:
        ids = self.ids
        ids["version"] = self.adapter("tuned")
        ids["suite"] = self.post("/v1/hub/suites", **SUITE)["id"]
        ids["evaluation"] = self.post("/v1/hub/evaluations", suite=ids["suite"], model="other", against="small")["id"]
        ids["release"] = self.post("/v1/hub/releases", alias="managed", target="other", share=0.25)["id"]
        ids["dataset"] = self.post("/v1/hub/datasets", format="trl-sft")["id"]

    def _ask(self) -> None:
        question = [{"role": "user", "content": "7?"}]
        made = self.post("/v1/chat/completions", model="small", messages=question, store=True)
        self.ids["capture"] = made["id"]
        self.post("/v1/feedback", target={"type": "response", "id": made["id"]}, thumb="up", consent=True)

    def _upload(self, name: str, content: bytes, purpose: str) -> str:
        answer = self.http.post("/v1/files", files={"file": (name, content)}, data={"purpose": purpose})
        return str(answer.raise_for_status().json()["id"])

    def adapter(self, name: str) -> str:
        """Makes a version that adapts the model that takes adapters."""
        me = Principal(STACK, "admin", "")
        versions = self.up.services.registry.versions
        digest = hashlib.sha256((self.folder / "base.gguf").read_bytes()).hexdigest()

        async def make() -> str:
            given: dict[str, Any] = {
                "kind": "adapter",
                "base": "tunable",
                "base_digest": digest,
                "method": "registered",
            }
            made = await versions.begin(me, name=name, rank=2, provenance={"made_by": "a test"}, **given)
            await versions.add(me, made.id, "adapter.gguf", self.folder / "base.gguf")
            return (await versions.finish(me, made.id)).id

        made: str = self.up.loop.do(make())
        return made

    def key(self, user: str, *scopes: str, role: str = "user") -> str:
        """A key of somebody in the stack's own tenant, with these scopes or all of the role."""
        who = Principal(STACK, user, "")
        given: Any = {"role": role, **({"scopes": scopes} if scopes else {})}
        made: str = self.up.loop.do(key_of(self.up.services, who, **given))
        return made

    @contextmanager
    def page(self, path: str = "/admin", key: str = "", width: int = 1280, language: str = "en") -> Iterator[Shown]:
        """The console at a path, for whoever has the key: by default the stack's own."""
        answer = httpx.post(
            f"{self.up.url}/auth/key",
            json={"key": key or self.up.key},
            headers={"origin": self.up.url},
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        with self.browser.page(width, 900) as page:
            for name, value in answer.cookies.items():
                page.ask("Network.setCookie", name=name, value=value, url=self.up.url, httpOnly=True)
            page.speak(language)
            page.open(self.up.url + path)
            shown = Shown(page)
            shown.page.until("document.querySelector('main') !== null")
            yield shown


def settled(shown: Shown) -> None:
    """Waits until the view has what it asked for."""
    waits = "document.querySelector('main [role=status], main [aria-busy=true]')"
    script = f"{waits} === null && document.querySelector('main h1') !== null"
    shown.page.until(script, lambda: shown.page.evaluate("document.body.innerText"))
