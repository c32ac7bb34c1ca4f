"""What the stack tells Envoy Gateway and cert-manager is what their custom resource definitions take."""

from __future__ import annotations

import copy

import pytest

from infra import edge
from infra.addons.gateway import GATEWAY
from infra.config import StackConfig
from tests.rendering.schemas import Object, ValidatorOf, mistakes, validator_of

__all__ = ["validator_of"]

TARGETS = [("kubeconfig", {}), ("aws", {}), ("aws", {"aws": {"mode": "auto"}}), ("gcp", {}), ("azure", {})]


def objects(target: str, kind: str, **settings: object) -> list[Object]:
    ingress = {"kind": kind, "host": "llm.example.com", "tls": {"acme": {"email": "ops@example.com"}}}
    config = StackConfig.model_validate({"target": target, "image": {"tag": "1"}, "ingress": ingress, **settings})
    return [*edge.objects(config), *(GATEWAY.objects(config) if kind == "gateway" else ())]


@pytest.mark.parametrize(("target", "settings"), TARGETS)
def test_the_objects_of_a_gateway_are_valid(
    target: str, settings: dict[str, object], validator_of: ValidatorOf
) -> None:
    given = objects(target, "gateway", **settings)
    assert {o["kind"] for o in given} == {"ClientTrafficPolicy", "Issuer", "EnvoyProxy", "GatewayClass"}
    assert list(mistakes(given, validator_of)) == []


def test_the_issuer_of_an_ingress_is_valid(validator_of: ValidatorOf) -> None:
    given = objects("kubeconfig", "ingress")
    assert [o["kind"] for o in given] == ["Issuer"]
    assert list(mistakes(given, validator_of)) == []


def test_a_misspelt_field_of_each_is_found(validator_of: ValidatorOf) -> None:
    """Guards the guard."""
    for given in objects("aws", "gateway"):
        broken = copy.deepcopy(given)
        broken["spec"]["unheardOf"] = 1
        assert list(mistakes([broken], validator_of)), given["kind"]
