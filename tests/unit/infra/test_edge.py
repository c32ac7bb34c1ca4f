"""The way from a client to the API: what load balancers and Envoy are told, and who issues the certificate."""

from __future__ import annotations

from typing import Any

import pytest

from infra import chart, edge
from infra.addons.gateway import GATEWAY
from infra.config import StackConfig

ACME = {"acme": {"email": "ops@example.com"}}
IDLE_S = {"aws": 350, "azure": 240, "gcp": 600}
"""After so many seconds without a packet, the load balancer of a cloud forgets a connection unless told otherwise."""


def config(target: str = "kubeconfig", auto: bool = False, **ingress: Any) -> StackConfig:
    given = {"kind": "gateway", "host": "llm.example.com", "tls": ACME, **ingress}
    aws = {"aws": {"mode": "auto"}} if auto else {}
    return StackConfig.model_validate({"target": target, "image": {"tag": "1"}, "ingress": given, **aws})


def objects(settings: StackConfig) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each["spec"] for each in edge.objects(settings)}


def service(settings: StackConfig) -> dict[str, Any]:
    [proxy] = [each for each in GATEWAY.objects(settings) if each["kind"] == "EnvoyProxy"]
    found: dict[str, Any] = proxy["spec"]["provider"]["kubernetes"]["envoyService"]
    return found


@pytest.mark.parametrize("target", ["kubeconfig", "aws", "gcp", "azure"])
def test_envoy_sees_the_address_of_the_caller(target: str) -> None:
    assert service(config(target))["externalTrafficPolicy"] == "Local"


def test_load_balancers_are_told_what_their_defaults_lack() -> None:
    prefix = "service.beta.kubernetes.io/"
    assert service(config("aws"))["annotations"] == {
        f"{prefix}aws-load-balancer-type": "nlb",
        f"{prefix}aws-load-balancer-cross-zone-load-balancing-enabled": "true",
    }
    assert "loadBalancerClass" not in service(config("aws"))
    auto = service(config("aws", auto=True))
    assert auto["loadBalancerClass"] == "eks.amazonaws.com/nlb"
    assert auto["annotations"][f"{prefix}aws-load-balancer-scheme"] == "internet-facing"
    assert (
        auto["annotations"][f"{prefix}aws-load-balancer-target-group-attributes"] == "preserve_client_ip.enabled=true"
    )
    assert service(config("azure"))["annotations"] == {f"{prefix}azure-load-balancer-tcp-idle-timeout": "30"}
    assert "annotations" not in service(config("gcp"))


def test_an_annotation_of_the_operator_wins() -> None:
    """Envoy Gateway would prefer the EnvoyProxy's to that of the Gateway, which passes the operator's on."""
    own = {"service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout": "10"}
    assert "annotations" not in service(config("azure", annotations=own))


@pytest.mark.parametrize("cloud", IDLE_S)
def test_probes_keep_a_silent_connection_open(cloud: str) -> None:
    keepalive = objects(config(cloud))["ClientTrafficPolicy"]["tcpKeepalive"]
    seconds = {key: int(keepalive[key].removesuffix("s")) for key in ("idleTime", "interval")}
    assert all(value < min(60, IDLE_S[cloud]) for value in seconds.values())


def test_the_policy_is_of_the_gateway_of_the_stack() -> None:
    assert objects(config())["ClientTrafficPolicy"]["targetRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": chart.RELEASE}
    ]


@pytest.mark.parametrize(
    "ingress",
    [
        {"class_name": "other"},
        {"gateway": "edge/main", "tls": None},
        {"kind": "ingress"},
    ],
)
def test_envoy_is_not_told_of_gateways_of_others(ingress: dict[str, Any]) -> None:
    assert "ClientTrafficPolicy" not in objects(config(**ingress))


def test_the_server_asks_where_the_gateway_listens() -> None:
    acme = objects(config())["Issuer"]["acme"]
    assert acme["server"] == "https://acme-v02.api.letsencrypt.org/directory"
    assert acme["email"] == "ops@example.com"
    [solver] = acme["solvers"]
    [parent] = solver["http01"]["gatewayHTTPRoute"]["parentRefs"]
    assert parent == {"kind": "Gateway", "name": "headrace", "sectionName": "http-0"}


def test_the_server_asks_an_ingress_controller() -> None:
    [solver] = objects(config(kind="ingress", class_name="nginx"))["Issuer"]["acme"]["solvers"]
    assert solver == {"http01": {"ingress": {"ingressClassName": "nginx"}}}
    [solver] = objects(config(kind="ingress"))["Issuer"]["acme"]["solvers"]
    assert solver == {"http01": {"ingress": {}}}


@pytest.mark.parametrize("tls", [{"issuer": "mine"}, {"secret": "mine"}])
def test_other_certificates_need_no_issuer(tls: dict[str, str]) -> None:
    assert "Issuer" not in objects(config(tls=tls))


SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
AZURE_ZONE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/dns/providers/Microsoft.Network/dnsZones/example.com"


def zone_mistakes(target: str, zone: str, host: str = "llm.example.com", **settings: Any) -> list[str]:
    ingress = {"kind": "gateway", "host": host, "tls": ACME, "zone": zone}
    azure = {"azure": {"subscription": SUBSCRIPTION, "location": "westeurope"}} if target == "azure" else {}
    given = {"target": target, "image": {"tag": "1"}, "ingress": ingress, **azure, **settings}
    return [str(mistake) for mistake in edge.mistakes(StackConfig.model_validate(given))]


@pytest.mark.parametrize(
    ("target", "zone"), [("aws", "Z0123456789ABCDEFGHIJ"), ("gcp", "example-zone"), ("azure", AZURE_ZONE)]
)
def test_a_zone_of_the_cloud_is_taken(target: str, zone: str) -> None:
    assert zone_mistakes(target, zone) == []


@pytest.mark.parametrize(
    ("target", "zone", "expected"),
    [
        ("aws", "example.com", "headrace:ingress.zone: 'example.com' is not a zone of this cloud; `aws route53"),
        ("gcp", "example.com.", "is not a zone of this cloud; `gcloud dns managed-zones list` prints its name"),
        ("azure", "example.com", "is not a zone of this cloud; `az network dns zone show --query id` prints it"),
        ("azure", AZURE_ZONE.replace("0000-000000000000", "0000-000000000001"), "is in another subscription"),
        ("azure", AZURE_ZONE.replace("example.com", "example.org"), "example.org has no room for llm.example.com"),
        ("kubeconfig", "Z0123456789ABCDEFGHIJ", "is a zone of a cloud; this stack's target is kubeconfig; remove it"),
    ],
)
def test_a_zone_that_cannot_have_the_host_is_a_mistake(target: str, zone: str, expected: str) -> None:
    [found] = zone_mistakes(target, zone)
    assert expected in found


def test_a_zone_needs_public_subnets_that_the_stack_knows() -> None:
    network = {"existing": "vpc-1", "subnets": ["subnet-1", "subnet-2"]}
    [found] = zone_mistakes("aws", "Z0123456789ABCDEFGHIJ", cluster={"network": network})
    assert "needs public subnets that the stack knows" in found


@pytest.mark.parametrize("ingress", [{"kind": "ingress"}, {"gateway": "edge/main", "tls": None}])
def test_a_zone_is_that_of_a_new_gateway(ingress: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has a zone, whose record is that of a new gateway"):
        config(zone="example", **ingress)


def test_reserved_addresses_take_two_of_the_annotations() -> None:
    six = {f"example.com/{i}": "1" for i in range(6)}
    config(zone="example", annotations=six)
    with pytest.raises(ValueError, match="more than 6 annotations"):
        config(zone="example", annotations={**six, "example.com/6": "1"})
