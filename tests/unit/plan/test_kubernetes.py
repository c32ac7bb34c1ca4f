"""Every example stack plans with no cluster, no credential and no network, and keeps its names for ever."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.layout import CHECKOUT
from infra.policies.catalogue import evaluate
from infra.policies.manifest import PlannedResource
from infra.policies.values import SecretValue
from tests.rendering.examples import EXAMPLES, MADE, settings
from tests.unit.plan.golden import check
from tests.unit.plan.seal import SEAL
from tests.unit.policies.engine import from_engine

Planner = Callable[..., Any]

each_example = pytest.mark.parametrize("example", [*EXAMPLES, *MADE], ids=lambda p: p.stem.removeprefix("Pulumi."))


def ours(planned: Any) -> list[Any]:
    """All but the stack itself, which the SDK registers by the way."""
    found = (r for r in planned.resources.values() if r.token != "pulumi:pulumi:Stack")
    return sorted(found, key=lambda r: r.urn)


def text(planned: Any) -> str:
    return json.dumps([vars(r) for r in ours(planned)], sort_keys=True, default=str)


def names(planned: Any) -> str:
    return "".join(f"{line}\n" for line in [r.urn.split("::", 2)[2] for r in ours(planned)])


@each_example
def test_an_example_plans_the_same_each_time(
    example: Path, plan: Planner, plan_once: Planner, kubeconfig: Path
) -> None:
    config = settings(example, kubeconfig)
    assert text(plan(config, stack="example")) == text(plan_once(config))


@each_example
def test_names_and_tokens_are_for_ever(example: Path, plan_once: Planner, kubeconfig: Path) -> None:
    """A renamed resource is one that is deleted, with its data, and made anew."""
    check(f"{example.stem.removeprefix('Pulumi.')}.txt", names(plan_once(settings(example, kubeconfig))))


def of_policies(planned: Any) -> Iterator[PlannedResource]:
    for one in planned.resources.values():
        read = from_engine(one.token, one.name, one.inputs, urn=one.urn)
        secrets = {key: SecretValue(value) for key, value in one.secrets.items()}
        yield PlannedResource(one.token, one.name, {**read.props, **secrets}, one.urn, marks_secrets=True)


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "up"])
@each_example
def test_an_example_breaks_no_policy(example: Path, preview: bool, plan_once: Planner, kubeconfig: Path) -> None:
    found = evaluate(of_policies(plan_once(settings(example, kubeconfig), preview)))
    assert [str(v) for v in found if v.rule.level == "mandatory" and not v.exception] == []


def test_a_fault_in_a_plan_is_found(plan_once: Planner, kubeconfig: Path) -> None:
    every = list(of_policies(plan_once(settings(EXAMPLES[0], kubeconfig))))
    [index] = [i for i, r in enumerate(every) if r.is_a("", "Secret") and r.name == "headrace-secrets"]
    every[index] = PlannedResource(every[index].token, "s", {"stringData": {"api-key": "hr_x"}}, marks_secrets=True)
    assert {v.rule.name for v in evaluate(every) if not v.exception} == {"secret-data-is-secret"}


def test_the_seal_blocks_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sealed = SEAL.closed(monkeypatch, tmp_path)
    with pytest.raises(AssertionError, match="socket"), sealed, pytest.raises(PermissionError):
        socket.create_connection(("127.0.0.1", 9))


def test_every_stack_file_of_the_repository_is_an_example() -> None:
    assert set(EXAMPLES) >= {*(CHECKOUT / "examples").glob("Pulumi.*.yaml"), CHECKOUT / "Pulumi.kubeconfig.yaml"}
    page = (CHECKOUT / "examples" / "README.md").read_text()
    assert [e.name for e in EXAMPLES if e.name not in page] == []


def test_secrets_are_only_in_the_secret(plan: Planner, kubeconfig: Path) -> None:
    config = settings(CHECKOUT / "examples" / "Pulumi.existing-add-ons.yaml", kubeconfig)
    config["database"] |= {"password": "planted"}
    config["models"] = [{"name": "r", "engine": "remote", "url": "https://m.example.com/v1", "api_key": "planted"}]
    config["kubernetes"] |= {"key_revision": 7}
    config["assistants"] = []
    planned = plan(config, encrypted=("database", "models"), stack="example")
    everything = repr([r.inputs for r in planned.resources.values()])
    assert "planted" not in everything
    assert "hr_made" not in everything
    held = planned["headrace-secrets"].secrets["stringData"]
    assert {"database-password": "planted", "model-r-api-key": "planted", "api-key": "hr_made"}.items() <= held.items()
    assert held["revision"] == "7"  # what replicas wait for
    assert set(planned["headrace-secrets"].secrets) == {"stringData"}


def test_the_key_secret_changes_in_three_steps(plan: Planner, kubeconfig: Path) -> None:
    def step(**numbers: int) -> tuple[set[str], set[str]]:
        config = settings(CHECKOUT / "Pulumi.kubeconfig.yaml", kubeconfig) | {"key_secret": numbers}
        planned = plan(config, stack="example")
        made = {r.name for r in planned.resources.values() if r.token == "headrace:index:RandomSecret"}
        held = set(planned["headrace-secrets"].secrets["stringData"])
        return {n for n in made if n.startswith("key-secret")}, {n for n in held if n.startswith("key-secret")}

    one, two = {"key-secret"}, {"key-secret-2"}
    assert step() == (one, one)
    assert step(previous=2) == step(revision=2, previous=1) == (one | two, one | two)
    assert step(revision=2) == (one | two, two)  # the state keeps what replicas read no more
    assert step(revision=2, oldest=2) == (two, two)


def test_with_a_store_the_stack_makes_no_secret(plan: Planner, kubeconfig: Path) -> None:
    config = settings(CHECKOUT / "Pulumi.kubeconfig.yaml", kubeconfig)
    config["kubernetes"] |= {"external_secret": {"store": "vault", "key": "apps/headrace"}}
    planned = plan(config, stack="example")
    assert "headrace-secrets" not in planned.resources
    made = {r.name for r in planned.resources.values() if r.token == "headrace:index:RandomSecret"}
    assert made == {"database-password"}  # of the database that the stack runs itself
    values = planned["headrace"].inputs["values"]["secrets"]
    assert values["externalSecret"]["key"] == "apps/headrace"
    assert "existingSecret" not in values
    config["models"] = [{"name": "r", "engine": "remote", "url": "https://m.example.com/v1", "api_key": "planted"}]
    config["assistants"] = []
    with pytest.raises(pulumi.RunError) as raised:
        plan(config, encrypted=("models",), stack="example")
    assert "replace it by {ref: file:/etc/headrace/secrets/model-r-api-key}" in str(raised.value)
    assert "planted" not in str(raised.value)


def test_resources_are_created_in_order(plan_once: Planner, kubeconfig: Path) -> None:
    planned = plan_once(settings(CHECKOUT / "Pulumi.kubeconfig.yaml", kubeconfig))
    assert {"namespace", "headrace-secrets", "headrace-db"} <= set(planned["headrace"].dependencies)
    assert {"kuberay", "postgres"} <= set(planned["namespace"].dependencies)


def test_existing_addons_are_not_installed(plan_once: Planner, kubeconfig: Path) -> None:
    planned = plan_once(settings(CHECKOUT / "examples" / "Pulumi.existing-add-ons.yaml", kubeconfig))
    assert [r for r in planned.resources.values() if r.token == "headrace:kubernetes:Addon"] == []
    assert "kubernetes:helm.sh/v3:Release" not in {r.token for r in planned.resources.values()}
    allowed = planned["headrace"].inputs["values"]["networkPolicy"]["operator"]["from"]
    assert "ray-system" in repr(allowed)


def test_a_mirror_leaves_no_other_source(plan_once: Planner, kubeconfig: Path) -> None:
    planned = plan_once(settings(CHECKOUT / "examples" / "Pulumi.air-gapped.yaml", kubeconfig))
    everything = repr([r.inputs for r in planned.resources.values() if r.name != "headrace"])
    assert "https://" not in everything
    for registry in ("quay.io", "ghcr.io", "docker.io", "registry.k8s.io"):
        assert registry not in everything
    charts = [r for r in planned.resources.values() if "helm.sh" in r.token and r.name != "headrace"]
    assert charts
    assert {r.inputs["chart"].rpartition("/")[0] for r in charts} == {"oci://registry.example.com/charts"}


def test_a_model_of_kserve_has_the_address_of_its_status(plan_once: Planner, kubeconfig: Path) -> None:
    planned = plan_once(settings(CHECKOUT / "examples" / "Pulumi.kserve.yaml", kubeconfig))
    models = planned["headrace"].inputs["values"]["catalog"]["models"]
    assert [m["url"] for m in models] == ["http://made.svc.cluster.local"] * 2
    assert "inferenceservice-smollm2" in planned["inference-endpoint-smollm2"].dependencies
    assert planned["inference-endpoint-team-llama"].inputs["namespace"] == "ml-team"
    assert "inferenceservice-team-llama" not in planned.resources


def test_a_model_that_does_not_fit_is_refused_with_the_arithmetic(plan: Planner, kubeconfig: Path) -> None:
    config = settings(CHECKOUT / "examples" / "Pulumi.vllm.yaml", kubeconfig)
    config["pools"][1]["accelerator"] = "Tesla-T4"
    with pytest.raises(pulumi.RunError) as raised:
        plan(config, stack="example")
    assert "models[1]: 'llama-3.1-8b'" in str(raised.value)
    assert "does not fit" in str(raised.value)
