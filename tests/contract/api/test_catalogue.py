"""What an operator sees of models and aliases: what the tenant may call, as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest

from serving.config import (
    Alias,
    Autoscaling,
    CallAccess,
    Catalog,
    LlamaCppModel,
    Managed,
    Price,
    RemoteModel,
    Target,
    VllmModel,
)
from serving.config.serve_document import model_application
from serving.config.vllm import Lora
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway

ACME = CallAccess(tenants=("acme",))
PRICE = Price(input=Decimal("0.10"), output=Decimal("0.4"), currency="EUR")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    remote = "http://127.0.0.1:9/v1"
    models = (
        RemoteModel(name="far", url=remote, context=4096, price=PRICE),
        RemoteModel(name="acmes", url=remote, access=ACME),
        LlamaCppModel(name="near", source="file:///m.gguf", context=8192, slots=4, replicas=2),
        VllmModel(
            name="tuned",
            source="file:///v",
            autoscaling=Autoscaling(min_replicas=0, max_replicas=3),
            loras=(Lora(name="tuned-law", source="file:///law"),),
        ),
    )
    aliases = (
        Alias(name="chat", targets=(Target(model="far", weight=3), Target(model="acmes", weight=1))),
        Alias(name="law", targets=(Target(model="tuned-law"),)),
        Alias(name="only", targets=(Target(model="acmes"),)),
        Alias(name="shared", managed=Managed(base="far", max_canary=0.25)),
        Alias(name="watched", managed=Managed(base="far", max_canary=0.25), access=ACME),
        Alias(name="pinned", managed=Managed(base="far", pin="near")),
    )
    catalog = Catalog(models=models, aliases=aliases)
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), catalog) as made:
        yield made


def operator(up: Gateway, tenant: str, role: str = "operator") -> httpx.Client:
    key = up.loop.do(key_of(up.services, Principal(tenant, role, ""), role=role))  # type: ignore[arg-type]
    return httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)


def listed(who: httpx.Client, what: str, **query: object) -> dict[str, dict]:
    answer = who.get(f"/v1/admin/{what}", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return {each["id"]: each for each in answer.json()["data"]}


def test_models_are_shown_with_what_runs(up: Gateway) -> None:
    with up.client() as platform:
        found = listed(platform, "models")
        assert list(found) == ["acmes", "far", "near", "tuned"]
        assert found["far"] == {
            "id": "far",
            "object": "admin.model",
            "engine": "remote",
            "task": "chat",
            "context": 4096,
            "adapters": [],
            "aliases": ["chat", "shared", "watched"],
            "price": {"currency": "EUR", "input": "0.10", "output": "0.4", "cached_input": None, "per_hour": None},
            "replicas": None,
        }
        near, tuned = found["near"], found["tuned"]
        assert (near["context"], near["replicas"]) == (2048, {"wanted": 2, "most": 2, "ready": None})
        assert tuned["adapters"] == [{"id": "tuned-law", "live": False}]
        assert (tuned["aliases"], tuned["replicas"]) == (["law"], {"wanted": 0, "most": 3, "ready": None})
        up.services.replicas.count_by(lambda: {model_application("near"): 1, "gateway": 5})
        found = listed(platform, "models")
        assert [found[name]["replicas"] for name in ("near", "tuned", "far")] == [
            {"wanted": 2, "most": 2, "ready": 1},
            {"wanted": 0, "most": 3, "ready": 0},
            None,
        ]


def test_aliases_are_shown_with_their_shares(up: Gateway) -> None:
    with up.client() as platform:
        found = listed(platform, "aliases")
        assert list(found) == ["chat", "law", "only", "pinned", "shared", "watched"]
        assert [(t["model"], t["weight"], t["share"]) for t in found["chat"]["targets"]] == [
            ("far", 3, 0.75),
            ("acmes", 1, 0.25),
        ]
        assert found["law"]["targets"] == [{"model": "tuned-law", "adapts": "tuned", "weight": 1, "share": 1}]
        assert [t["model"] for t in found["pinned"]["targets"]] == ["near"]
        assert [(found[name]["managed"], found[name]["pinned"]) for name in ("chat", "watched", "pinned")] == [
            (False, False),
            (True, False),
            (True, True),
        ]


def test_a_canary_is_shown_to_whom_it_belongs(up: Gateway) -> None:
    with operator(up, "acme", "admin") as admin, operator(up, "evil") as rival, up.client() as platform:
        for who, alias in ((admin, "watched"), (platform, "shared")):
            made = who.post("/v1/hub/releases", json={"alias": alias, "target": "near", "share": 0.2})
            assert made.status_code == 200, made.text
            release = listed(who, "aliases")[alias]["release"]
            told = ("id", "status", "target", "base", "share", "created_at")
            assert release == {name: made.json()[name] for name in told}
            assert listed(platform, "aliases")[alias]["release"] == release
        up.loop.do(up.services.hub.keeper.refresh())
        for found in (listed(admin, "aliases")["watched"], listed(rival, "aliases")["shared"]):
            assert [(t["model"], t["share"]) for t in found["targets"]] == [("far", 0.8), ("near", 0.2)]
        assert listed(rival, "aliases")["shared"]["release"] is None
        id = listed(platform, "aliases")["watched"]["release"]["id"]
        assert admin.post(f"/v1/hub/releases/{id}/rollback", json={}).status_code == 200
        assert listed(admin, "aliases")["watched"]["release"] is None


def test_operators_see_what_their_tenant_may_call(up: Gateway) -> None:
    with operator(up, "acme") as operators, operator(up, "evil") as rival, up.client() as platform:
        assert "acmes" in listed(operators, "models")
        assert "acmes" not in str(listed(rival, "models"))
        assert list(listed(rival, "aliases")) == ["chat", "law", "pinned", "shared"]
        assert [t["share"] for t in listed(rival, "aliases")["chat"]["targets"]] == [1]
        assert listed(platform, "models", tenant="evil").keys() == listed(rival, "models").keys()
        for what in ("models", "aliases"):
            assert rival.get(f"/v1/admin/{what}", params={"tenant": "acme"}).status_code == 404
            with operator(up, "acme", "user") as user:
                assert user.get(f"/v1/admin/{what}").status_code == 403


def test_the_lists_are_pages(up: Gateway) -> None:
    with up.client() as platform:
        first = platform.get("/v1/admin/models", params={"limit": 3}).json()
        assert ([each["id"] for each in first["data"]], first["has_more"]) == (["acmes", "far", "near"], True)
        rest = platform.get("/v1/admin/models", params={"after": first["last_id"]}).json()
        assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (["tuned"], False)
        for query in ({"after": "nothing"}, {"limit": 0}):
            assert platform.get("/v1/admin/aliases", params=query).status_code == 400
