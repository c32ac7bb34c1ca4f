"""The schemas that Kubernetes and operators publish, read from their Go modules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from tools.charts import go_module_folder

Object = dict[str, Any]
SchemaOf = Callable[[Object], Object]

KUBERNETES = ("k8s.io/kubernetes@v1.34.4", "k8s.io/kubernetes@v1.37.2")
"""The oldest that the chart takes, and the one that the cluster tests run."""

KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.5.0"
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.4.0"
EXTERNAL_SECRETS = "github.com/external-secrets/external-secrets@v1.3.2"
CNPG = "github.com/cloudnative-pg/cloudnative-pg@v1.27.1"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

CRDS = {
    KUBERAY: "config/crd/bases/ray.io_rayservices.yaml",
    GATEWAY_API: "config/crd/standard/gateway.networking.k8s.io_*.yaml",
    EXTERNAL_SECRETS: "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    PROMETHEUS_OPERATOR: "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml",
    CNPG: "config/crd/bases/postgresql.cnpg.io_clusters.yaml",
}


def mistakes(given: Iterable[Object], schema_of: SchemaOf) -> Iterator[str]:
    """What Kubernetes would refuse."""
    for one in given:
        validator = jsonschema.Draft202012Validator(schema_of(one))
        for error in validator.iter_errors(one):
            at = "/".join(map(str, error.absolute_path))
            yield f"{one['kind']} {one['metadata']['name']} {at}: {error.message[:300]}"


class Loader(yaml.CSafeLoader):
    """Reads the bare `=` that prometheus-operator's CRDs list; PyYAML knows the type of YAML 1.1 and no value of it."""


Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_scalar)


@pytest.fixture(scope="session", params=KUBERNETES, ids=lambda module: module.rpartition("@")[2])
def schema_of(request: pytest.FixtureRequest) -> SchemaOf:
    """The JSON Schema of an object: Kubernetes' own, or that of its CRD. Unknown fields are mistakes."""
    crds: dict[tuple[str, str], Object] = {}
    for name, pattern in CRDS.items():
        for file in sorted(go_module_folder(name).glob(pattern)):
            for crd in yaml.load_all(file.read_text(), Loader):
                for version in crd["spec"]["versions"]:
                    key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                    crds[key] = version["schema"]["openAPIV3Schema"]

    @cache
    def built_in(api: str) -> Object:
        path = f"apis__{api.replace('/', '__')}" if "/" in api else f"api__{api}"
        file = go_module_folder(request.param) / "api" / "openapi-spec" / "v3" / f"{path}_openapi.json"
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
