"""How the gateway takes a replica: the adapters of a model are leased from the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from infra.config_loader import load
from serving.config import Alias, Assistant, Catalog, LlamaCppModel, Lora, Price, RemoteModel, Target, VllmModel
from serving.config.serve_document import model_application
from serving.core.principal import Principal
from serving.engines.endpoint import EngineBusy, EngineUnavailable
from serving.engines.pool import LEASES, Engines
from serving.engines.router import ModelRouter
from tests.callers.identity import CALLER, OWNERS

LLAMA = VllmModel(name="llama", source="hf://a/b", loras=(Lora(name="llama-law", source="hf://a/law"),))
SMALL = LlamaCppModel(name="small", source="file:///small.gguf")


class Replicas:
    """A Serve handle that grants one lease after the other, of the replicas in `script`, and counts those held."""

    def __init__(self, *script: str | Exception) -> None:
        self.held = self.most = 0
        self.lease = self
        self._script = iter(script)

    def options(self, *, stream: bool) -> Replicas:
        assert stream
        return self

    def remote(self, owner: str, user: str) -> Replicas:
        self.held += 1
        self.most = max(self.most, self.held)
        return self

    async def __anext__(self) -> dict[str, Any]:
        replica = next(self._script, "http://10.0.0.1:8000/v1")
        if isinstance(replica, Exception):
            raise replica
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


async def test_another_price_forgets_no_request_under_way() -> None:
    far = RemoteModel(name="far", url="http://127.0.0.1:9/v1", max_in_flight=1)
    engines = Engines(lambda name: Replicas(), 1, OWNERS)
    engines.configure(Catalog(models=(far,)))
    async with engines.endpoint("far", CALLER):
        engines.configure(Catalog(models=(far.model_copy(update={"price": Price(input=1, output=1)}),)))
        with pytest.raises(EngineBusy):
            async with engines.endpoint("far", CALLER):
                pass
