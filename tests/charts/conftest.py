"""Renders charts/headrace with the real Helm, and reads the schemas that Kubernetes itself publishes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.find import ensure

CHART = Path(__file__).parents[2] / "charts" / "headrace"
FULL = CHART / "ci" / "full-values.yaml"

KUBERNETES = ("k8s.io/kubernetes@v1.34.4", "k8s.io/kubernetes@v1.37.2")
"""The oldest that the chart takes, and the one that the cluster tests run."""

KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.5.0"
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.4.0"
EXTERNAL_SECRETS = "github.com/external-secrets/external-secrets@v1.3.2"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

CRDS = {
    KUBERAY: "config/crd/bases/ray.io_rayservices.yaml",
    GATEWAY_API: "config/crd/standard/gateway.networking.k8s.io_*.yaml",
    EXTERNAL_SECRETS: "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    PROMETHEUS_OPERATOR: "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml",
}

Object = dict[str, Any]
Values = dict[str, Any]

DIGEST = "sha256:" + "1" * 64
HERE = [{"podSelector": {}}]

FAR = {
    "engine": "remote",
    "name": "far",
    "url": "https://models.example.com/v1",
    "api_key": {"ref": "file:/etc/headrace/secrets/far-key"},
}

VARIANTS: dict[str, Values] = {
    "default": {},
    "redis": {
        "head": {
            "gcs": {"storage": "redis", "redis": {"address": "valkey:6379", "passwordSecret": {"name": "valkey"}}}
        },
        "networkPolicy": {"redis": {"to": HERE}},
    },
    "redis with a user": {
        "head": {"gcs": {"storage": "redis", "redis": {"address": "valkey:6379", "username": "ray"}}},
        "networkPolicy": {"redis": {"to": HERE}},
    },
    "control state in memory": {"head": {"gcs": {"storage": "memory"}}},
    "control state on a shared volume": {"head": {"gcs": {"rocksdb": {"accessMode": "ReadWriteMany"}}}},
    "secrets of a store": {
        "secrets": {"externalSecret": {"store": "vault", "key": "apps/headrace"}, "revision": "2"},
        "catalog": {"models": [FAR]},
    },
    "ingress": {"ingress": {"enabled": True, "host": "a.example.com", "tlsSecret": "tls"}},
    "ingress of a class": {
        "ingress": {"enabled": True, "host": "a.example.com", "tlsSecret": "tls", "className": "nginx"}
    },
    "route of a Gateway that is there": {
        "httpRoute": {
            "enabled": True,
            "hosts": ["a.example.com"],
            "parentRefs": [{"name": "gw", "namespace": "gws", "sectionName": "https"}],
        }
    },
    "bucket": {
        "serving": {"store": {"data": "s3://bucket/prefix", "endpoint": "http://minio:9000"}},
        "networkPolicy": {"bucket": {"to": HERE, "port": 9000}},
    },
    "container in Azure": {
        "serving": {"store": {"data": "az://account/container/prefix"}},
        "networkPolicy": {"bucket": {"to": HERE}, "identity": [{"to": HERE, "ports": [{"port": 443}]}]},
    },
    "bucket by keys": {
        "serving": {"store": {"data": "s3://bucket/prefix"}},
        "secrets": {"bucketCredentials": {"secret": "bucket-keys", "key": "file"}},
        "networkPolicy": {"bucket": {"to": HERE}},
        "knowledge": [{"name": "docs", "files": {"a.md": "QQ=="}}],
        "backup": {"enabled": True, "existingClaim": "backups"},
    },
    "sqlite": {"serving": {"store": {"database": "sqlite:////var/lib/headrace/h.db", "password": None}}},
    "no network policies, no migration": {"networkPolicy": {"enabled": False}, "migrate": {"enabled": False}},
    "nobody scrapes": {"networkPolicy": {"metrics": {"from": []}}, "monitoring": {"podMonitor": {"enabled": False}}},
    "pools": {"pools": {"serving": {"replicas": 0}, "second": {"replicas": 2, "gpus": 1, "topologySpread": []}}},
    "another image by its tag": {"pools": {"serving": {"image": {"repository": "example/vllm", "tag": "1"}}}},
    "image by digest": {"image": {"registry": "registry.example.com", "digest": DIGEST}},
    "everything exists": {
        "secrets": {"existingSecret": "mine"},
        "persistence": {"data": {"existingClaim": "data"}},
        "head": {"gcs": {"rocksdb": {"existingClaim": "gcs"}}},
    },
    "nothing is kept": {"persistence": {"retain": False}, "jobs": {"ttlSecondsAfterFinished": None}},
    "backup": {"backup": {"enabled": True, "existingClaim": "backups"}, "jobs": {"ttlSecondsAfterFinished": None}},
    "sealed backup": {"backup": {"enabled": True, "existingClaim": "backups", "key": {"secret": "backup-key"}}},
    "ingestion without an end": {
        "knowledge": [{"name": "a_b.c", "configMaps": [{"name": "documents"}]}],
        "jobs": {"ttlSecondsAfterFinished": None},
    },
    "many documents": {"knowledge": [{"name": "docs", "files": {f"{i}.md": "QUJD" * 200_000 for i in range(4)}}]},
    "another folder of metrics": {"serving": {"multiprocess_dir": "/tmp/metrics"}},
    "a key of the environment": {
        "catalog": {
            "models": [{"engine": "remote", "name": "far", "url": "https://a/v1/", "api_key": {"ref": "env:K"}}]
        }
    },
    "autoscaled down to one": {
        "autoscaling": {"enabled": True},
        "pools": {"serving": {"replicas": 2, "minReplicas": 1}},
        "networkPolicy": {"apiServer": {"to": HERE}},
    },
}
"""Values of each way to run the chart that makes other objects, over the defaults."""


REFUSED: dict[str, tuple[Values, str]] = {
    # By the schema.
    "unknown value": ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    "unknown setting": ({"serving": {"limits": {"inflight": 1}}}, r"at '/serving/limits'.*'inflight' not allowed"),
    "unknown engine": ({"catalog": {"models": [{"engine": "tgi"}]}}, r"at '/catalog/models/0/engine'.*must be one of"),
    "model without a source": (
        {"catalog": {"models": [{"engine": "llamacpp", "name": "a"}]}},
        r"at '/catalog/models/0': missing property 'source'",
    ),
    "digest cut short": ({"image": {"digest": "sha256:12"}}, r"at '/image/digest'.*does not match pattern"),
    "number as text": ({"streams": {"drainSeconds": "600"}}, r"at '/streams/drainSeconds': got string, want integer"),
    "no memory limit": ({"head": {"resources": {"limits": {"memory": None}}}}, r"missing property 'memory'"),
    "open load balancer": ({"service": {"type": "LoadBalancer"}}, r"at '/service/sourceRanges'"),
    "no pool": ({"pools": {"serving": None}}, r"at '/pools'"),
    "database with a password in it": (
        {"serving": {"store": {"database": "mysql://x"}}},
        r"at '/serving/store/database'",
    ),
    "documents from two places": (
        {"knowledge": [{"name": "a", "files": {"a.md": "QQ=="}, "configMaps": [{"name": "b"}]}]},
        r"at '/knowledge/0'",
    ),
    "name that is none": ({"nameOverride": "My"}, "the release's full name is 'headrace-My'.*set fullnameOverride"),
    # By the templates: what concerns two values at once, or is better said in words than as a pattern.
    "pool that is no label": ({"pools": {"My_Pool": {}}}, "pools.My_Pool: a pool's name is made of lower case letters"),
    "gateway on no pool": (
        {"serving": {"gateway": {"replicas": 2, "cpus": 1, "pool": "gold"}}},
        "serving.gateway.pool: there is no pool 'gold'; there is serving",
    ),
    "model on no pool": (
        {"catalog": {"models": [{"engine": "vllm", "name": "a", "source": "hf://a/b", "pool": "gpu"}]}},
        r"catalog.models\[0\].pool: there is no pool 'gpu'; there is serving",
    ),
    "streams cut before the pod goes": (
        {"streams": {"hardStopSeconds": 60}},
        "streams.hardStopSeconds must not be below streams.drainSeconds",
    ),
    "two ways in": (
        {
            "ingress": {"enabled": True, "host": "a.example.com", "tlsSecret": "tls"},
            "httpRoute": {"enabled": True, "hosts": ["a.example.com"]},
        },
        "exclude each other",
    ),
    "secrets from two places": (
        {"secrets": {"existingSecret": "mine", "externalSecret": {"store": "vault", "key": "a"}}},
        "secrets.existingSecret and secrets.externalSecret exclude each other",
    ),
    "a store without an entry": (
        {"secrets": {"externalSecret": {"store": "vault"}}},
        "secrets.externalSecret.key is needed",
    ),
    "an older hash key that nobody gives": (
        {"serving": {"key_secret_previous": {"ref": "file:/etc/headrace/secrets/old"}}},
        "serving.key_secret_previous: nothing gives the secret 'old'; add it to secrets.extra",
    ),
    "ingress without a host": ({"ingress": {"enabled": True, "tlsSecret": "tls"}}, "ingress.host is needed"),
    "ingress in plain text": ({"ingress": {"enabled": True, "host": "a.example.com"}}, "ingress.tlsSecret is needed"),
    "route without hosts": ({"httpRoute": {"enabled": True}}, "httpRoute.hosts is needed"),
    "route to nowhere": (
        {"httpRoute": {"enabled": True, "hosts": ["a.example.com"]}},
        "httpRoute.parentRefs is needed",
    ),
    "gateway of no class": (
        {"httpRoute": {"enabled": True, "hosts": ["a.example.com"], "gateway": {"create": True}}},
        "httpRoute.gateway.className is needed",
    ),
    "backup to nowhere": ({"backup": {"enabled": True}}, "backup.existingClaim"),
    "bucket behind a wall": ({"serving": {"store": {"data": "s3://a"}}}, "networkPolicy.bucket.to is needed"),
    "container in Azure by keys": (
        {
            "serving": {"store": {"data": "az://account/container"}},
            "secrets": {"bucketCredentials": {"secret": "bucket-keys"}},
            "networkPolicy": {"bucket": {"to": HERE}},
        },
        "secrets.bucketCredentials is for s3:// and gs://",
    ),
    "database behind a wall": ({"networkPolicy": {"database": {"to": []}}}, "networkPolicy.database.to is needed"),
    "autoscaler behind a wall": ({"autoscaling": {"enabled": True}}, "networkPolicy.apiServer.to is needed"),
    "redis behind a wall": (
        {"head": {"gcs": {"storage": "redis", "redis": {"address": "valkey:6379"}}}},
        "networkPolicy.redis.to is needed",
    ),
    "redis nowhere": (
        {"head": {"gcs": {"storage": "redis"}}, "networkPolicy": {"redis": {"to": HERE}}},
        "head.gcs.redis.address is needed",
    ),
    "secret that nothing gives": (
        {
            "catalog": {
                "models": [
                    {
                        "engine": "remote",
                        "name": "far",
                        "url": "https://a/v1",
                        "api_key": {"ref": "file:/etc/headrace/secrets/far-key"},
                    }
                ]
            }
        },
        r"catalog.models\[0\].api_key: nothing gives the secret 'far-key'; add it to secrets.extra",
    ),
    "password of a tool that nothing gives": (
        {
            "catalog": {
                "tools": [
                    {
                        "kind": "sql",
                        "name": "sales",
                        "description": "Sales.",
                        "database": "postgresql://r@db/sales",
                        "password": {"ref": "file:/etc/headrace/secrets/sales-password"},
                    }
                ]
            }
        },
        r"catalog.tools\[0\].password: nothing gives the secret 'sales-password'; add it to secrets.extra",
    ),
    "header of a tool that nothing gives": (
        {
            "catalog": {
                "tools": [
                    {
                        "kind": "mcp",
                        "name": "wiki",
                        "url": "https://a/mcp",
                        "headers": {"Authorization": {"ref": "file:/etc/headrace/secrets/wiki"}},
                    }
                ]
            }
        },
        r"catalog.tools\[0\].headers.Authorization: nothing gives the secret 'wiki'; add it to secrets.extra",
    ),
    "collection named twice": (
        {"knowledge": [{"name": "a", "files": {"a.md": "QQ=="}}, {"name": "a", "files": {"b.md": "QQ=="}}]},
        r"knowledge\[1\].name: 'a' is used twice",
    ),
    "document outside": (
        {"knowledge": [{"name": "a", "files": {"../a.md": "QQ=="}}]},
        r"knowledge\[0\].files: '../a.md' must be a relative path",
    ),
    "document that is too large": (
        {"knowledge": [{"name": "a", "files": {"a.md": "QUJD" * 330_000}}]},
        r"knowledge\[0\].files: 'a.md' is too large",
    ),
}
"""Values that are refused, and what is said."""


class Refused(Exception):
    """Helm said no; the text is what it said."""


class Rendered(list[Object]):
    """The objects of a release."""

    def of(self, kind: str, ending: str | None = None) -> list[Object]:
        found = [o for o in self if o["kind"] == kind]
        return found if ending is None else [o for o in found if o["metadata"]["name"].endswith(ending)]

    def one(self, kind: str, ending: str = "") -> Object:
        [found] = self.of(kind, ending)
        return found

    @property
    def cluster(self) -> Object:
        return dict(self.one("RayService")["spec"]["rayClusterConfig"])

    @property
    def groups(self) -> dict[str, Object]:
        return {g["groupName"]: g for g in self.cluster["workerGroupSpecs"]}

    @property
    def document(self) -> Object:
        return dict(json.loads(self.one("RayService")["spec"]["serveConfigV2"]))

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod template, with a name to tell it by."""
        if self.of("RayService"):
            yield "head", self.cluster["headGroupSpec"]["template"]
            for name, group in self.groups.items():
                yield f"worker {name}", group["template"]
        for job in self.of("Job"):
            yield job["metadata"]["name"], job["spec"]["template"]
        for job in self.of("CronJob"):
            yield job["metadata"]["name"], job["spec"]["jobTemplate"]["spec"]["template"]

    def containers(self) -> Iterator[tuple[str, Object]]:
        for name, pod in self.pods():
            for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                yield f"{name}: {container['name']}", container


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Helm with a home of its own."""
    binary = ensure(["helm"])["helm"]
    home = tmp_path_factory.mktemp("helm")
    env = {**os.environ, "HOME": str(home), "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home)}
    env = {k: v for k, v in env.items() if k != "KUBECONFIG"}

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *arguments], env=env, input=stdin, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Rendered]:
    """Renders the chart with `values`; raises `Refused` with what Helm says."""

    def run(
        values: Mapping[str, Any] | None = None, *arguments: str, full: bool = False, name: str = "headrace"
    ) -> Rendered:
        files = ["--values", str(FULL)] if full else []
        stdin = json.dumps(values or {})
        result = helm("template", name, str(CHART), "-n", "headrace", *files, "--values", "-", *arguments, stdin=stdin)
        if result.returncode:
            raise Refused(result.stderr)
        return Rendered(o for o in yaml.load_all(result.stdout, yaml.CSafeLoader) if o)

    return run


@pytest.fixture(scope="session")
def default(render: Callable[..., Rendered]) -> Rendered:
    return render()


@pytest.fixture(scope="session")
def full(render: Callable[..., Rendered]) -> Rendered:
    return render(full=True)


@cache
def module(name: str) -> Path:
    """The folder of a Go module, downloaded if it is not there."""
    result = subprocess.run(["go", "mod", "download", "-json", name], capture_output=True, text=True, cwd="/")
    found: dict[str, str] = json.loads(result.stdout or "{}")
    assert "Dir" in found, f"{name} cannot be had: {found.get('Error') or result.stderr}"
    return Path(found["Dir"])


class Loader(yaml.CSafeLoader):
    """Reads the bare `=` that prometheus-operator's CRDs list; PyYAML knows the type of YAML 1.1 and no value of it."""


Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_scalar)


@pytest.fixture(scope="session", params=KUBERNETES, ids=lambda module: module.rpartition("@")[2])
def schema_of(request: pytest.FixtureRequest) -> Callable[[Object], Object]:
    """The JSON Schema of an object: Kubernetes' own, or that of its CRD. Unknown fields are mistakes."""
    crds: dict[tuple[str, str], Object] = {}
    for name, pattern in CRDS.items():
        for file in sorted(module(name).glob(pattern)):
            for crd in yaml.load_all(file.read_text(), Loader):
                for version in crd["spec"]["versions"]:
                    key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                    crds[key] = version["schema"]["openAPIV3Schema"]

    @cache
    def built_in(api: str) -> Object:
        path = f"apis__{api.replace('/', '__')}" if "/" in api else f"api__{api}"
        file = module(request.param) / "api" / "openapi-spec" / "v3" / f"{path}_openapi.json"
        return dict(json.loads(file.read_text()))

    @cache
    def find(api: str, kind: str) -> Object:
        if (api, kind) in crds:
            schema = _closed(crds[api, kind])
            # The API server knows what is in metadata, whatever the CRD says.
            return {**schema, "properties": {**schema["properties"], "metadata": {"type": "object"}}}
        group, _, version = api.rpartition("/")
        document = _closed(built_in(api))
        [name] = [
            name
            for name, schema in document["components"]["schemas"].items()
            for gvk in schema.get("x-kubernetes-group-version-kind", ())
            if (gvk["group"], gvk["version"], gvk["kind"]) == (group, version, kind)
        ]
        return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}

    return lambda given: find(given["apiVersion"], given["kind"])


def _closed(node: Any) -> Any:
    """Kubernetes' dialect as plain JSON Schema, in which a field that is not declared is a mistake."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if str(node.get("$ref", "")).endswith("resource.Quantity"):
        return {"type": ["number", "string"]}
    found = {key: _closed(value) for key, value in node.items() if key not in ("default", "format")}
    open_ = node.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in node
    if isinstance(node.get("properties"), dict) and node.get("type", "object") == "object" and not open_:
        found["additionalProperties"] = False
    return found
