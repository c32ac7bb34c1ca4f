"""What Serve is told of a configuration, held against Serve's own schema."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from infra.layout import CHECKOUT
from serving.config import (
    AdapterBounds,
    Assistant,
    Autoscaling,
    CallAccess,
    Catalog,
    KServeModel,
    KServeScaling,
    Limits,
    LlamaCppModel,
    Objectives,
    Price,
    RemoteModel,
    Replicas,
    SecretRef,
    ServingConfig,
    Store,
    Tuning,
    VllmModel,
)
from serving.config.serve_document import DRAIN_S, POOL_LABEL, model_application, serve_document

CONFIG = ServingConfig(
    store=Store(database="sqlite:////none", data="/none"),
    key_secret=SecretRef(ref="env:NONE"),
    gateway=Replicas(replicas=2, cpus=0.5, pool="front"),
    retrieval=Replicas(
        replicas=1, cpus=0.3, pool="front", autoscaling=Autoscaling(max_replicas=3, target_ongoing_requests=8)
    ),
)
SMALL = LlamaCppModel(name="small", source="package://weights/small.gguf", slots=4, replicas=2, cpus=1.5)
LARGE = VllmModel(
    name="large",
    source="hf://organisation/large",
    tensor_parallel=2,
    pipeline_parallel=2,
    max_num_seqs=64,
    pool="gpu",
    max_surge_percent=0,
    autoscaling=Autoscaling(min_replicas=0, max_replicas=2),
)
ELSEWHERE = (
    RemoteModel(name="far", url="http://127.0.0.1:9000/v1"),
    KServeModel(name="kept", existing="small"),
)
CATALOG = Catalog(models=(SMALL, LARGE, *ELSEWHERE), assistants=(Assistant(name="helper", model="small"),))


def document(config: ServingConfig = CONFIG, catalog: Catalog = CATALOG, **options: Any) -> dict[str, Any]:
    return serve_document(config, catalog, host="0.0.0.0", port=8000, **({"on_pools": True} | options))


def deployments(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every deployment by its application's name and its own."""
    return {f"{a['name']}/{d['name']}": d for a in made["applications"] for d in a["deployments"]}


@pytest.mark.parametrize("on_pools", [True, False])
def test_serve_accepts_the_document_unchanged(on_pools: bool) -> None:
    from ray.serve.schema import ServeDeploySchema  # takes seconds

    made = document(on_pools=on_pools, proxy_location="EveryNode", env={"A": "1"})
    taken = ServeDeploySchema.model_validate(made)
    assert taken.proxy_location == "EveryNode"
    assert [a.name for a in taken.applications] == ["headrace", "model-small", "model-large"]
    for application in taken.applications:
        assert application.runtime_env["env_vars"] == {"A": "1"}
    again = taken.model_dump(exclude_unset=True)
    for theirs, ours in zip(again["applications"], made["applications"], strict=True):
        assert theirs["args"] == ours["args"]
        for their, our in zip(theirs["deployments"], ours["deployments"], strict=True):
            for key in ("num_replicas", "max_ongoing_requests", "graceful_shutdown_timeout_s", "max_surge_percent"):
                assert their.get(key) == our.get(key), (our["name"], key)
            assert (their.get("autoscaling_config") or {}).items() >= (our.get("autoscaling_config") or {}).items()


def test_each_models_deployment_has_the_models_name() -> None:
    """Ray's metrics have the deployment's name: one name for all models would add them up."""
    from serving import app  # imports Ray, which takes seconds

    models = [a for a in document()["applications"] if a["import_path"] == "serving.app:model_application"]
    names = [a["deployments"][0]["name"] for a in models]
    assert names == ["small", "large"]
    assert [app.model_application(a["args"])._bound_deployment.name for a in models] == names


def test_a_model_without_replicas_may_be_and_a_gateway_may_not() -> None:
    assert deployments(document())["model-large/large"]["autoscaling_config"]["min_replicas"] == 0
    with pytest.raises(ValueError, match="only models scale to zero"):
        Replicas(replicas=1, cpus=1, autoscaling=Autoscaling(min_replicas=0, max_replicas=1))


def test_a_tenant_has_at_most_all_places_for_adapters() -> None:
    assert AdapterBounds(max=2, per_tenant=2).per_tenant == 2
    with pytest.raises(ValueError, match=r"per_tenant \(3\) must be at most max \(2\)"):
        AdapterBounds(max=2, per_tenant=3)


def test_a_deployment_has_a_number_or_bounds_and_never_both() -> None:
    made = deployments(document())
    assert made["headrace/Gateway"]["num_replicas"] == 2
    assert made["headrace/Retrieval"]["autoscaling_config"]["target_ongoing_requests"] == 8
    for name, deployment in made.items():
        assert ("num_replicas" in deployment) is not ("autoscaling_config" in deployment), name


def test_replicas_are_placed_on_their_pools_with_their_resources() -> None:
    options = {name: d["ray_actor_options"] for name, d in deployments(document()).items()}
    assert options == {
        "headrace/Gateway": {"num_cpus": 0.5, "label_selector": {POOL_LABEL: "front"}},
        "headrace/Retrieval": {"num_cpus": 0.3, "label_selector": {POOL_LABEL: "front"}},
        "model-small/small": {"num_cpus": 1.5, "label_selector": {POOL_LABEL: "serving"}},
        "model-large/large": {"num_cpus": 2, "num_gpus": 4, "label_selector": {POOL_LABEL: "gpu"}},
    }
    for deployment in deployments(document(on_pools=False)).values():
        assert "label_selector" not in deployment["ray_actor_options"]


def test_an_update_finds_room_and_ends_no_stream() -> None:
    made = deployments(document())
    assert [d["max_surge_percent"] for d in made.values()] == [100, 100, 100, 0]
    for name in ("headrace/Gateway", "model-small/small", "model-large/large"):
        assert made[name]["graceful_shutdown_timeout_s"] == DRAIN_S
    # More than an engine decodes at once may wait in it, and Serve refuses nothing that the gateway admits.
    assert made["model-small/small"]["max_ongoing_requests"] == 8
    assert made["model-large/large"]["max_ongoing_requests"] == 128
    admitted = CONFIG.limits.in_flight + CONFIG.limits.queue
    assert made["headrace/Gateway"]["max_ongoing_requests"] > admitted


def test_a_changed_pool_or_scale_does_not_restart_the_application() -> None:
    """Serve restarts an application whose arguments change, and reconfigures one whose user_config does."""
    autoscaling = Autoscaling(max_replicas=5)
    moved = {"pool": "other", "autoscaling": autoscaling}
    config = CONFIG.model_copy(
        update={n: getattr(CONFIG, n).model_copy(update=moved) for n in ("gateway", "retrieval")}
    )
    models = tuple(m.model_copy(update=moved) if m in (SMALL, LARGE) else m for m in CATALOG.models)
    before, after = document(), document(config, CATALOG.model_copy(update={"models": models}))

    def without(deployment: dict[str, Any]) -> dict[str, Any] | None:
        """What a deployment is told, but for the size that the gateway says is expected."""
        told: dict[str, Any] | None = deployment.get("user_config")
        return told and {**told, "models": [{**m, "autoscaling": None} for m in told["models"]]}

    for one, other in zip(before["applications"], after["applications"], strict=True):
        assert one["args"] == other["args"]
        assert [without(d) for d in one["deployments"]] == [without(d) for d in other["deployments"]]
        assert one["deployments"] != other["deployments"]


def test_settings_of_the_fit_check_restart_nothing() -> None:
    update = {
        "full_context_requests": 7,
        "max_surge_percent": 100,
        "objectives": Objectives(first_token_s=8),
        "price": Price(input=1, output=2),
        "access": CallAccess(tenants=("acme",)),
    }
    other = LARGE.model_copy(update=update)
    catalog = CATALOG.model_copy(update={"models": (SMALL, other, *ELSEWHERE)})
    [before, after] = (
        {a["name"]: a["args"] for a in made["applications"]} for made in (document(), document(catalog=catalog))
    )
    assert before == after


def test_other_prices_and_objectives_restart_nothing_and_reach_the_gateway() -> None:
    update = {"price": Price(input=Decimal("0.15"), output=Decimal("0.6")), "objectives": Objectives(first_token_s=8)}
    priced = tuple(m.model_copy(update=update) for m in CATALOG.models)
    before, after = document(), document(catalog=CATALOG.model_copy(update={"models": priced}))
    for one, other in zip(before["applications"], after["applications"], strict=True):
        assert one["args"] == other["args"]
    [gateway, *models] = ([d.get("user_config") for d in a["deployments"]] for a in after["applications"])
    assert {m["price"]["input"] for m in gateway[0]["models"]} == {"0.15"}
    assert {m["objectives"]["first_token_s"] for m in gateway[0]["models"]} == {8}
    assert models == [[None], [None]]


def test_only_replicas_that_take_adapters_know_the_store() -> None:
    adapted = SMALL.model_copy(update={"adapters": AdapterBounds(max=2)})
    made = document(catalog=CATALOG.model_copy(update={"models": (adapted, LARGE)}))
    [_, small, large] = [application["args"] for application in made["applications"]]
    assert Store.model_validate(small["store"]) == CONFIG.store
    assert small["model"]["adapters"] == {"max": 2, "rank": 16}
    assert "store" not in large


def test_tuning_is_an_application_of_its_own() -> None:
    """So that neither a gateway's update nor another prompt ends a job."""
    assert "tuning/TuningRunner" not in deployments(document())
    config = CONFIG.model_copy(update={"tuning": Tuning(enabled=True, hours=2)})
    [tuning] = [a for a in document(config)["applications"] if a["name"] == "tuning"]
    assert tuning["import_path"] == "serving.app:tuning_application"
    assert tuning["args"]["tuning"]["hours"] == 2
    [deployment] = tuning["deployments"]
    assert deployment["num_replicas"] == 1
    assert {m["name"] for m in deployment["user_config"]["models"]} == {m.name for m in CATALOG.models}
    slower = config.model_copy(update={"limits": Limits(in_flight=7)})
    assert [a for a in document(slower)["applications"] if a["name"] == "tuning"] == [tuning]


def test_remote_models_are_known_to_the_gateway_only() -> None:
    made = document()
    known = {m["name"] for m in deployments(made)["headrace/Gateway"]["user_config"]["models"]}
    assert known == {"small", "large", "far", "kept"}
    names = {a["name"] for a in made["applications"]}
    assert not names & {model_application("far"), model_application("kept")}


def test_a_pod_that_ends_leaves_replicas_their_shutdown_time() -> None:
    """Serve stops a replica that long before the deadline: with less, it would stop before its replacement runs."""
    script = (CHECKOUT / "charts/headrace/files/drain.sh").read_text()
    assert f'--deadline-remaining-seconds "$((move + {DRAIN_S}))"' in script


@pytest.mark.parametrize("kind", [Autoscaling, KServeScaling])
def test_bounds_are_in_order(kind: type[Autoscaling | KServeScaling]) -> None:
    assert kind(min_replicas=2, max_replicas=2).max_replicas == 2
    with pytest.raises(ValidationError, match="min_replicas must not be above max_replicas"):
        kind(min_replicas=3, max_replicas=2)


def test_a_model_of_kserve_never_scales_to_nothing() -> None:
    """In its Standard mode: nothing would wake it. One of Serve's may."""
    assert Autoscaling(min_replicas=0, max_replicas=1).min_replicas == 0
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        KServeScaling(min_replicas=0, max_replicas=1)
