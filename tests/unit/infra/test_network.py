from typing import Any

import pytest
from pydantic import ValidationError

from infra import network
from infra.addons.kuberay import KUBERAY
from infra.addons.monitoring import MONITORING, prometheus
from infra.config import StackConfig
from infra.resources.provisioned_cluster import IdentityEndpoint


def peers(**settings: Any) -> dict[str, Any]:
    config = StackConfig.model_validate({"target": "kubeconfig", "image": {"tag": "1"}, **settings})
    return network.policy_values(config, KUBERAY, MONITORING)


def test_only_the_stack_may_connect_by_default() -> None:
    found = peers()
    assert found["api"] == {"from": [{"podSelector": {}}]}
    assert found["operator"] == {"from": [network.namespace_peer("kuberay-system")]}
    assert found["database"]["to"] == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "headrace-db"}}}]
    assert found["models"] == []
    assert not {"bucket", "apiServer"} & found.keys()


def test_ranges_of_a_service_that_is_open() -> None:
    found = peers(kubernetes={"service_type": "LoadBalancer", "source_ranges": ["10.0.0.0/8"]})
    assert found["api"]["from"][1:] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def test_an_identity_provider_is_reached() -> None:
    issuer = {"name": "main", "issuer": "https://login.auth.svc:8443/realms/a", "client_id": "c", "tenant": "t"}
    assert peers(oidc={"issuers": [issuer]})["models"] == [
        {"to": [network.namespace_peer("auth")], "ports": [{"protocol": "TCP", "port": 8443}]}
    ]


def test_an_operator_that_is_elsewhere() -> None:
    found = peers(addons={"kuberay": {"existing": "k", "namespace": "ray"}, "monitoring": "off"})
    assert found["operator"]["from"] == [network.namespace_peer("ray")]
    assert found["metrics"]["from"] == []


@pytest.mark.parametrize(
    ("url", "peer", "port"),
    [
        ("https://api.example.com/v1", network.ANYWHERE, 443),
        ("http://vllm:8000/v1", network.namespace_peer("headrace"), 8000),
        ("http://vllm.ml.svc.cluster.local/v1", network.namespace_peer("ml"), 80),
    ],
)
def test_a_model_that_is_elsewhere(url: str, peer: Any, port: int) -> None:
    [rule] = peers(models=[{"name": "m", "engine": "remote", "url": url}], assistants=[])["models"]
    assert rule == {"to": [peer], "ports": [{"protocol": "TCP", "port": port}]}


def test_two_models_of_one_host_are_one_rule() -> None:
    models = [{"name": n, "engine": "remote", "url": "https://a.example.com/v1"} for n in "ab"]
    assert len(peers(models=models, assistants=[])["models"]) == 1


def test_pods_reach_the_addresses_of_tools() -> None:
    shared = {"description": "x"}
    tools = [
        {**shared, "kind": "http", "name": "a", "allow": ["https://a.example.com/v1", "http://shop.web.svc:8080/"]},
        {**shared, "kind": "sql", "name": "b", "database": "postgresql://u@db.data.svc/x"},
        {**shared, "kind": "sql", "name": "c", "database": "sqlite:////c.db"},
        {"kind": "mcp", "name": "d", "url": "http://mcp.tools.svc:8000/mcp"},
    ]
    found = [(rule["to"][0], rule["ports"][0]["port"]) for rule in peers(tools=tools)["models"]]
    assert found == [
        (network.ANYWHERE, 443),
        (network.namespace_peer("web"), 8080),
        (network.namespace_peer("data"), 5432),
        (network.namespace_peer("tools"), 8000),
    ]


@pytest.mark.parametrize(
    ("settings", "server", "rules"),
    [
        ({}, ("http://monitoring-prometheus.monitoring.svc:9090", "headrace"), [("monitoring", 9090)]),
        ({"addons": {"monitoring": "off"}}, ("", "headrace"), []),
        (
            {"prometheus": {"url": "http://prometheus.watch.svc:9091/p", "namespace": "blue"}},
            ("http://prometheus.watch.svc:9091/p", "blue"),
            [("watch", 9091)],
        ),
    ],
)
def test_the_gateway_reaches_the_prometheus_that_it_asks(
    settings: dict[str, Any], server: tuple[str, str], rules: list[tuple[str, int]]
) -> None:
    config = StackConfig.model_validate({"target": "kubeconfig", "image": {"tag": "1"}, **settings})
    asked = prometheus(config)
    assert (asked.url, asked.namespace) == server
    found = peers(**settings)["prometheus"]
    assert found == [
        {"to": [network.namespace_peer(name)], "ports": [{"protocol": "TCP", "port": port}]} for name, port in rules
    ]


@pytest.mark.parametrize("url", ["prometheus:9090", "http://me:secret@prometheus:9090", "http://p/?x=1", "ftp://p"])
def test_an_address_that_is_none_of_prometheus_is_a_mistake(url: str) -> None:
    with pytest.raises(ValidationError, match="prometheus"):
        StackConfig.model_validate({"prometheus": {"url": url}})


def test_pods_reach_a_database_by_url() -> None:
    found = peers(database={"kind": "url", "url": "postgresql://u@db.data.svc/x"})["database"]
    assert found == {"to": [network.namespace_peer("data")], "port": 5432}


def test_pods_reach_the_bucket() -> None:
    for uri in ("s3://b/p", "gs://b/p", "az://account/container"):
        assert peers(data={"uri": uri})["bucket"] == {"to": [network.ANYWHERE], "port": 443}
    inside = peers(data={"uri": "s3://b/p", "endpoint": "http://minio.store.svc:9000"})["bucket"]
    assert inside == {"to": [network.namespace_peer("store")], "port": 9000}


def test_rays_autoscaler_asks_the_api_server() -> None:
    pools = [{"name": "serving", "replicas": 1, "min_replicas": 1, "max_replicas": 2}]
    assert peers(pools=pools)["apiServer"] == {"to": [network.ANYWHERE]}


def test_pods_reach_the_clouds_identity_endpoint() -> None:
    config = StackConfig.model_validate({"target": "kubeconfig", "image": {"tag": "1"}})
    found = network.policy_values(config, KUBERAY, MONITORING, [IdentityEndpoint("169.254.170.23/32", 80)])
    assert found["identity"] == [
        {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"protocol": "TCP", "port": 80}]}
    ]


def test_a_cluster_whose_dns_has_no_pods() -> None:
    config = StackConfig.model_validate({"target": "kubeconfig", "image": {"tag": "1"}})
    assert "dns" not in network.policy_values(config, KUBERAY, MONITORING), "the chart selects the pods of kube-dns"
    peer = {"ipBlock": {"cidr": "172.20.0.10/32"}}
    assert network.policy_values(config, KUBERAY, MONITORING, (), [peer])["dns"] == {"to": [peer]}


def weights(**model: Any) -> list[tuple[Any, int]]:
    settings = {"target": "kubeconfig", "image": {"tag": "1"}, "assistants": []}
    config = StackConfig.model_validate(settings | {"models": [{"name": "m", "engine": "vllm", **model}]})
    found = network.policy_values(config, KUBERAY, MONITORING, [IdentityEndpoint("169.254.170.23/32", 80)])
    return [(rule["to"][0], rule["ports"][0]["port"]) for rule in found["models"]]


def test_pods_reach_the_sources_of_weights() -> None:
    anywhere, identity = (network.ANYWHERE, 443), ({"ipBlock": {"cidr": "169.254.170.23/32"}}, 80)
    assert weights(source="hf://a/b") == [anywhere]
    assert weights(source="file:///a") == []
    assert weights(source="file:///a", loras=[{"name": "l", "source": "hf://a/b"}]) == [anywhere]
    assert weights(source="s3://b/c") == [anywhere, identity]
    assert weights(source="s3://b/c", token={"ref": "file:/k"}) == [anywhere]
    inside = {"source": "s3://b/c", "endpoint": "http://minio.store.svc:9000", "token": {"ref": "file:/k"}}
    minio = (network.namespace_peer("store"), 9000)
    other = [{"name": "l", "source": "gs://b/c"}]
    assert weights(source="s3://b/c", token={"ref": "file:/k"}, loras=other) == [anywhere, identity], "it has no token"
    assert weights(**inside) == [minio]
    assert weights(**inside, loras=[{"name": "l", "source": "hf://a/b"}]) == [minio, anywhere]
    mirror = {"HF_ENDPOINT": "http://hub.models.svc:8080"}
    assert weights(source="hf://a/b", environment=mirror) == [(network.namespace_peer("models"), 8080)]
