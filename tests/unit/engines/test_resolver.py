"""What a name leads to."""

from __future__ import annotations

import pytest

from serving.config import (
    Alias,
    Assistant,
    CallAccess,
    Catalog,
    Lora,
    Objectives,
    Price,
    RemoteModel,
    Target,
    VllmModel,
)
from serving.core.principal import Principal
from serving.engines.router import BARE_TOOLS, ModelRouter, Route

BASE = VllmModel(name="base", source="hf://a/b", loras=(Lora(name="tuned", source="hf://a/c"),))
PLAIN = RemoteModel(name="plain", url="http://127.0.0.1:1/v1")
DOCS = Assistant(name="docs", model="stable")
STABLE = Alias(name="stable", targets=(Target(model="tuned"),))
ADA, RIVAL = Principal("acme", "ada", "k"), Principal("globex", "ada", "k")


def test_a_route_records_every_resolved_name():
    resolver = ModelRouter(Catalog(models=(BASE, PLAIN), aliases=(STABLE,), assistants=(DOCS,)))
    assert resolver.resolve("docs", ADA) == Route("docs", DOCS, "stable", "tuned", adapts="base", tools=DOCS.tools)
    assert resolver.resolve("tuned", ADA) == Route("tuned", None, "tuned", "tuned", adapts="base", tools=BARE_TOOLS)
    assert resolver.resolve("base", ADA) == Route("base", None, "base", "base", tools=BARE_TOOLS)
    assert resolver.resolve("plain", ADA) == Route("plain", None, "plain", "plain", tools=BARE_TOOLS)
    assert resolver.resolve("none", ADA) is None


def test_an_adapter_has_the_price_of_its_model():
    price = Price(input=1, output=2)
    resolver = ModelRouter(Catalog(models=(BASE.model_copy(update={"price": price}), PLAIN), aliases=(STABLE,)))
    assert [resolver.resolve(name, ADA).price for name in ("stable", "tuned", "base", "plain")] == [price] * 3 + [None]


def test_whatever_name_is_asked_for_has_the_objectives_of_the_model_that_answers():
    slow = Objectives(first_token_s=8)
    models = (BASE.model_copy(update={"objectives": slow}), PLAIN)
    resolver = ModelRouter(Catalog(models=models, aliases=(STABLE,), assistants=(DOCS,)))
    asked = ("docs", "stable", "tuned", "base", "plain")
    assert [resolver.resolve(name, ADA).objectives for name in asked] == [slow] * 4 + [Objectives()]


def test_an_adapter_has_an_audience_of_its_own_or_its_models():
    acme, globex = CallAccess(tenants=("acme",)), CallAccess(tenants=("globex",))
    loras = (Lora(name="tuned", source="hf://a/c"), Lora(name="theirs", source="hf://a/d", access=globex))
    resolver = ModelRouter(Catalog(models=(BASE.model_copy(update={"access": acme, "loras": loras}),)))
    assert [entry.id for entry in resolver.listed_for(ADA)] == ["base", "tuned"]
    assert [entry.id for entry in resolver.listed_for(RIVAL)] == ["theirs"]
    assert resolver.resolve("tuned", RIVAL) is resolver.resolve("theirs", ADA) is None


def test_composed_targets_need_no_access_check():
    acme = CallAccess(tenants=("acme",))
    model, alias = PLAIN.model_copy(update={"access": acme}), Alias(name="a", targets=(Target(model="plain"),))
    assistant = Assistant(name="helper", model="a", access=acme)
    resolver = ModelRouter(Catalog(models=(model,), aliases=(alias,), assistants=(assistant,)))
    for name in ("plain", "a"):
        assert resolver.resolve(name, RIVAL) is None
        assert resolver.composed(name).model == "plain"
    assert resolver.assistant("helper", RIVAL) is resolver.resolve("helper", RIVAL) is None
    assert resolver.composed_assistant("helper") is resolver.assistant("helper", ADA) is assistant
    assert resolver.composed("none") is None


def test_unreachable_targets_are_rejected():
    acme, globex = CallAccess(tenants=("acme",)), CallAccess(tenants=("globex",))
    alias = Alias(name="a", targets=(Target(model="plain"),), access=globex)
    with pytest.raises(ValueError, match=r"aliases\[0\].targets\[0\].model: access of 'plain' excludes some"):
        Catalog(models=(PLAIN.model_copy(update={"access": acme}),), aliases=(alias,))


@pytest.mark.parametrize(
    ("given", "place", "problem"),
    [
        ({}, (), "leave access out for everybody"),
        ({"tenants": []}, ("tenants",), "at least 1 item"),
        ({"tenants": ["acme", "acme"]}, ("tenants",), "names 'acme' twice"),
        ({"tenants": ["acme"], "groups": []}, ("groups",), "at least 1 item"),
        ({"tenants": ["acme"], "roles": ["boss"]}, ("roles", 0), "'user', 'operator' or 'admin'"),
        ({"tenants": ["Acme!"]}, ("tenants", 0), "pattern"),
        ({"groups": ["staff"]}, (), "needs tenants"),
        ({"tenants": ["acme"], "teams": ["a"]}, ("teams",), "not permitted"),
    ],
)
def test_contradictory_audiences_are_rejected(given, place, problem):
    model = {"engine": "remote", "name": "m", "url": "http://127.0.0.1:1/v1", "access": given}
    with pytest.raises(ValueError, match="access") as refused:
        Catalog.model_validate({"models": [model]})
    error = refused.value.errors()[0]  # ty: ignore[missing-attribute]
    assert error["loc"] == ("models", 0, "remote", "access", *place)
    assert problem in error["msg"]
