"""Managed aliases in the configuration, and how a router follows what is released for them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from serving.config import Alias, Assistant, CallAccess, Catalog, Target
from serving.core.principal import Principal
from serving.engines.router import ModelRouter, ReleasedTargets

ANN = Principal("acme", "ann", "key_1")
MODELS = [
    {"engine": "remote", "name": "base", "url": "http://127.0.0.1:9/v1"},
    {"engine": "remote", "name": "new", "url": "http://127.0.0.1:9/v1"},
    {"engine": "remote", "name": "theirs", "url": "http://127.0.0.1:9/v1", "access": {"tenants": ["evil"]}},
    {"engine": "remote", "name": "ranks", "url": "http://127.0.0.1:9/v1", "task": "rerank"},
]


def catalog(managed=None, **more):
    alias = {"name": "chat", "managed": managed or {"base": "base"}}
    return Catalog.model_validate({"models": MODELS, "aliases": [alias], **more})


def test_the_base_is_the_target_and_survives_being_written():
    made = catalog()
    assert made.aliases[0].targets == (Target(model="base"),)
    assert Catalog.model_validate(made.model_dump(mode="json")) == made


@pytest.mark.parametrize(
    ("managed", "said"),
    [
        ({"base": "nothing"}, "there is no model 'nothing'"),
        ({"base": "base", "pin": "nothing"}, "there is no model 'nothing'"),
        ({"base": "ranks"}, "aliases[0].managed.base: the task of the model 'ranks' is rerank"),
        ({"base": "base", "guards": ["errors", "errors"]}, "'errors' twice"),
        ({"base": "base", "guards": []}, "at least 1 item"),
        ({"base": "base", "max_canary": 0.6}, "less than or equal to 0.5"),
    ],
)
def test_mistakes_are_found(managed, said):
    with pytest.raises(ValidationError) as caught:
        catalog(managed)
    assert said in str(caught.value)


def test_an_alias_has_targets_or_is_managed():
    both = {"name": "a", "managed": {"base": "base"}, "targets": [{"model": "new"}]}
    for given, said in (({"name": "a"}, "needs targets"), (both, "leave targets out")):
        with pytest.raises(ValidationError, match=said):
            Alias.model_validate(given)


def test_a_classifier_does_not_change_by_a_release():
    rail = {"check": "classifier", "model": "chat", "on": ["input"], "action": "block"}
    with pytest.raises(ValidationError, match="a release must not change what classifies"):
        catalog(guardrails=[rail])


@pytest.fixture
def released():
    return ReleasedTargets()


def models(router, name="chat", caller=ANN):
    """The models that answer, each once."""
    route = router.resolve(name, caller)
    return {route.model, *(other.model for other in route.alternatives)}


def test_a_router_follows_what_is_released(released):
    asks = Assistant(name="docs", model="chat")
    router = ModelRouter(catalog(assistants=[asks]), released=released)
    assert models(router) == models(router, "docs") == {"base"}
    released.replace({"chat": (Target(model="base", weight=0.9), Target(model="new", weight=0.1))})
    assert models(router) == models(router, "docs") == {"base", "new"}
    assert router.composed("chat").model in ("base", "new")
    released.replace({"chat": (Target(model="new"),)})
    assert models(router) == {"new"}


def test_released_models_that_the_configuration_does_not_have_leave_the_base(released):
    """With the base alone left out, the canary would get all requests."""
    router = ModelRouter(catalog(), released=released)
    released.replace({"chat": (Target(model="gone", weight=0.9), Target(model="new", weight=0.1))})
    assert models(router) == {"base"}


def test_a_pin_and_fixed_targets_are_not_changed_by_releases(released):
    released.replace({"chat": (Target(model="new"),), "fixed": (Target(model="new"),)})
    fixed = Alias(name="fixed", targets=(Target(model="base"),))
    pinned = catalog({"base": "new", "pin": "base"}).aliases[0]
    router = ModelRouter(Catalog.model_validate({"models": MODELS, "aliases": [fixed, pinned]}), released=released)
    assert models(router, "fixed") == models(router, "chat") == {"base"}


def test_a_canary_is_not_used_for_callers_who_may_not_call_it(released):
    router = ModelRouter(catalog(), released=released)
    released.replace({"chat": (Target(model="base", weight=0.5), Target(model="theirs", weight=0.5))})
    assert models(router) == {"base"}
    assert models(router, caller=Principal("evil", "eve", "key_2")) == {"base", "theirs"}


def test_only_models_for_the_same_task_can_be_released():
    router = ModelRouter(catalog())
    found = {name: router.releasable(name, "chat") for name in ("new", "theirs", "ranks", "chat", "nothing")}
    assert found == {"new": True, "theirs": True, "ranks": False, "chat": False, "nothing": False}
    assert not router.releasable("new", "fixed")


def test_an_alias_is_there_for_its_audience():
    restricted = catalog().aliases[0].model_copy(update={"access": CallAccess(tenants=("evil",))})
    router = ModelRouter(Catalog.model_validate({"models": MODELS, "aliases": [restricted]}))
    assert router.alias("chat", ANN) is None
    assert router.alias("new", ANN) is None
    assert router.alias("chat", Principal("evil", "eve", "key_2")).managed is not None
