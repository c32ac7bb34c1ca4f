"""How the gateway takes a replica: the adapters of a model are leased from the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from infra.config_loader import load
from serving.config import (
    Alias,
    Assistant,
    Catalog,
    LlamaCppModel,
    Lora,
    Objectives,
    Price,
    RemoteModel,
    Target,
    VllmModel,
)
from serving.config.serve_document import model_application
from serving.core.principal import Principal
from serving.engines.endpoint import EngineBusy, EngineUnavailable
from serving.engines.pool import LEASES, Engines
from serving.engines.router import ModelRouter
from serving.store.objects.live_adapters import LiveAdapter
from tests.callers.identity import CALLER, OWNERS

LIVE = ("small", LiveAdapter("t.law.2", "mver_1", (), 8, ("default", "acme")))
"""An adapter of two tenants."""
LLAMA = VllmModel(name="llama", source="hf://a/b", loras=(Lora(name="llama-law", source="hf://a/law"),))
SMALL = LlamaCppModel(name="small", source="file:///small.gguf")


class Replicas:
    """A Serve handle that grants one lease after the other, of the replicas in `script`, and counts those held."""

    def __init__(self, *script: str | Exception | dict[str, Any]) -> None:
        self.held = self.most = 0
        self.adapters: list[str | None] = []
        self.lease = self
        self._script = iter(script)

    def options(self, *, stream: bool) -> Replicas:
        assert stream
        return self

    def remote(self, owner: str, user: str, adapter: str | None = None) -> Replicas:
        self.adapters.append(adapter)
        self.held += 1
        self.most = max(self.most, self.held)
        return self

    async def __anext__(self) -> dict[str, Any]:
        replica = next(self._script, "http://10.0.0.1:8000/v1")
        if isinstance(replica, Exception):
            raise replica
        if isinstance(replica, dict):
            return replica
        return {"url": replica, "key": "k", "slot": 3}

    def __aiter__(self) -> AsyncIterator[dict[str, str]]:
        return self

    def cancel(self) -> None:
        self.held -= 1


async def test_adapters_are_served_by_their_models_replicas() -> None:
    applications: dict[str, Replicas] = {}

    def handle(name: str) -> Any:
        return applications.setdefault(name, Replicas())

    engines = Engines(handle, 1, OWNERS)
    engines.configure(Catalog(models=(LLAMA, SMALL)))
    async with engines.endpoint("llama-law", CALLER) as adapter, engines.endpoint("llama", CALLER) as plain:
        assert (adapter.model, plain.model, adapter.url) == ("llama-law", "llama", plain.url)
        assert applications.keys() == {model_application("llama")}
        assert applications[model_application("llama")].held == 2
        assert not adapter.text_only
    assert applications[model_application("llama")].held == 0
    async with engines.endpoint("small", CALLER) as small:
        assert small.text_only


async def test_lost_replicas_are_skipped() -> None:
    replicas = Replicas("a", "a", "b")
    engines = Engines(lambda name: replicas, 1, OWNERS)
    engines.configure(Catalog(models=(LLAMA,)))
    async with engines.endpoint("llama", CALLER, ("a",)) as endpoint:
        assert (endpoint.url, endpoint.leased, replicas.held, replicas.most) == ("b", True, 1, 3)
    assert replicas.held == 0


async def test_failed_leases_are_retried() -> None:
    replicas = Replicas(RuntimeError("the replica died"), "b")
    engines = Engines(lambda name: replicas, 1, OWNERS)
    engines.configure(Catalog(models=(LLAMA,)))
    async with engines.endpoint("llama", CALLER) as endpoint:
        assert (endpoint.url, replicas.held) == ("b", 1)
    assert replicas.held == 0


async def test_a_handle_that_fails_is_not_kept() -> None:
    """An update can give a model's deployment another name: the handle of the old one never works again."""
    handles = [Replicas(RuntimeError("the deployment was deleted")), Replicas("b")]
    engines = Engines(lambda name: handles.pop(0), 1, OWNERS)
    engines.configure(Catalog(models=(LLAMA,)))
    async with engines.endpoint("llama", CALLER) as endpoint:
        assert endpoint.url == "b"
    assert handles == []


@pytest.mark.parametrize(
    "script", [["a"] * LEASES, [RuntimeError("died")] * LEASES, ["a", RuntimeError("died"), *["a"] * (LEASES - 2)]]
)
async def test_no_lease_leaks_without_another_replica(script: list[str | Exception]) -> None:
    replicas = Replicas(*script)
    engines = Engines(lambda name: replicas, 1, OWNERS)
    engines.configure(Catalog(models=(LLAMA,)))
    with pytest.raises(EngineUnavailable, match="no replica of llama can take the request"):
        async with engines.endpoint("llama", CALLER, ("a",)):
            pass
    assert replicas.held == 0


async def test_a_live_adapter_is_leased_from_a_replica_that_has_it() -> None:
    scales = [{"id": 0, "scale": 1}]
    has_it = {"url": "c", "key": "k", "slot": 1, "lora": scales}
    replicas = Replicas({"lacks": "t.law.2"}, RuntimeError("died"), {"lacks": "t.law.2"}, has_it)
    engines = Engines(lambda name: replicas, 1, OWNERS)
    engines.configure(Catalog(models=(SMALL,)))
    engines.adapt([LIVE])
    caller = Principal("acme", "u", "k")
    async with engines.endpoint("t.law.2", caller) as endpoint:
        assert (endpoint.url, endpoint.model, replicas.held, replicas.most) == ("c", "t.law.2", 1, 3)
        assert endpoint.beside == {"id_slot": 1, "lora": scales}
        assert endpoint.text_only
    assert replicas.held == 0
    assert replicas.adapters == ["t.law.2"] * 4
    async with engines.endpoint("small", caller):
        assert replicas.adapters[-1] is None
    with pytest.raises(EngineUnavailable, match="is not deployed"):
        async with engines.endpoint("t.law.2", Principal("other", "u", "k")):
            pass
    engines.adapt([])
    with pytest.raises(EngineUnavailable, match="is not deployed"):
        async with engines.endpoint("t.law.2", caller):
            pass
    assert replicas.held == 0


async def test_a_live_adapter_that_no_replica_has_is_unavailable() -> None:
    replicas = Replicas(*[{"lacks": "t.law.2"}] * LEASES)
    engines = Engines(lambda name: replicas, 1, OWNERS)
    engines.configure(Catalog(models=(SMALL,)))
    engines.adapt([LIVE])
    with pytest.raises(EngineUnavailable, match=r"no replica of t\.law\.2 can take the request"):
        async with engines.endpoint("t.law.2", Principal("acme", "u", "k")):
            pass
    assert replicas.held == 0


def test_a_live_adapter_exists_only_for_its_tenants() -> None:
    catalog = Catalog(
        models=(SMALL.model_copy(update={"price": Price(input=1, output=2)}),),
        aliases=(Alias(name="chat", targets=(Target(model="small"),)),),
        assistants=(Assistant(name="lawyer", model="chat"),),
    )
    router = ModelRouter(catalog, [LIVE, ("gone", LiveAdapter("t.lost.1", "mver_2", (), 8, ("acme",)))])
    mine, other = Principal("acme", "u", "k"), Principal("other", "u", "k")
    route = router.resolve("t.law.2", mine)
    assert route is not None
    assert (route.model, route.adapts, route.price, route.task) == (
        "t.law.2",
        "small",
        Price(input=1, output=2),
        "chat",
    )
    assert [router.resolve(name, other) for name in ("t.law.2", "t.lost.1")] == [None, None]
    assert router.resolve("t.lost.1", mine) is None, "its model is not in the catalogue"
    assert router.composed("t.law.2") is None, "nobody is known to be allowed"
    assert [each.id for each in router.listed_for(mine)] == ["lawyer", "chat", "small", "t.law.2"]
    assert [each.id for each in router.listed_for(other)] == ["lawyer", "chat", "small"]
    # What an alias leads to, whatever its weights.
    canary = Alias(name="chat", targets=(Target(model="small"), Target(model="t.law.2")))
    router._aliases["chat"] = canary
    for name in ("chat", "lawyer"):
        for caller, models in ((mine, {"small", "t.law.2"}), (other, {"small"})):
            route = router.resolve(name, caller)
            assert route is not None
            assert {route.model, *(each.model for each in route.alternatives)} == models
    route = router.composed("chat")
    assert route is not None
    assert {route.model, *(each.model for each in route.alternatives)} == {"small"}


def test_an_adapter_is_a_name_like_a_models() -> None:
    catalog = Catalog(
        models=(LLAMA,),
        aliases=(Alias(name="chat", targets=(Target(model="llama", weight=9), Target(model="llama-law"))),),
        assistants=(Assistant(name="lawyer", model="llama-law"),),
    )
    resolver = ModelRouter(catalog)
    route = resolver.resolve("lawyer", Principal("t", "u", "k"))
    assert route
    assert (route.alias, route.model) == ("llama-law", "llama-law")
    assert [x.id for x in resolver.listed] == ["lawyer", "chat", "llama", "llama-law"]


def test_adapter_names_are_unique() -> None:
    other = SMALL.model_copy(update={"name": "llama-law"})
    with pytest.raises(ValidationError, match="'llama-law' is used twice"):
        Catalog(models=(LLAMA, other))
    models = [m.model_dump(mode="json") for m in (LLAMA, other)]
    raw = {"models": models, "assistants": [{"name": "lawyer", "model": "llama-tax"}]}
    found = [str(m) for m in load(raw, frozenset(), "/secrets").mistakes]
    assert "headrace:models[1].name: 'llama-law' is already models[0].loras[0].name; choose another name" in found, (
        found
    )
    assert any("there is no model or alias 'llama-tax'; did you mean 'llama-law'?" in m for m in found), found


@pytest.mark.parametrize("update", [{"price": Price(input=1, output=1)}, {"objectives": Objectives(first_token_s=8)}])
async def test_what_the_router_reads_forgets_no_request_under_way(update: dict[str, object]) -> None:
    far = RemoteModel(name="far", url="http://127.0.0.1:9/v1", max_in_flight=1)
    engines = Engines(lambda name: Replicas(), 1, OWNERS)
    engines.configure(Catalog(models=(far,)))
    async with engines.endpoint("far", CALLER):
        engines.configure(Catalog(models=(far.model_copy(update=update),)))
        with pytest.raises(EngineBusy):
            async with engines.endpoint("far", CALLER):
                pass
