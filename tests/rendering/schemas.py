"""The schemas that Kubernetes and operators publish, read from their Go modules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.rendering.addon_charts import CERT_MANAGER, ENVOY_GATEWAY
from tests.rendering.kuberay_chart import go_module_folder

Object = dict[str, Any]
ValidatorOf = Callable[[Object], jsonschema_rs.Draft202012Validator]

KUBERNETES = ("k8s.io/kubernetes@v1.34.4", "k8s.io/kubernetes@v1.37.2")
"""The oldest that the chart takes, and the one that the cluster tests run."""

KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.5.0"
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.4.0"
EXTERNAL_SECRETS = "github.com/external-secrets/external-secrets@v1.3.2"
CNPG = "github.com/cloudnative-pg/cloudnative-pg@v1.27.1"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

FLUX = (
    "github.com/fluxcd/helm-controller@v1.4.0",
    "github.com/fluxcd/kustomize-controller@v1.7.2",
    "github.com/fluxcd/source-controller@v1.7.0",
)

CRDS = {
    KUBERAY: "config/crd/bases/ray.io_rayservices.yaml",
    GATEWAY_API: "config/crd/standard/gateway.networking.k8s.io_*.yaml",
    ENVOY_GATEWAY: "charts/gateway-helm/crds/generated/gateway.envoyproxy.io_*.yaml",
    CERT_MANAGER: "deploy/crds/cert-manager.io_*.yaml",
    EXTERNAL_SECRETS: "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    PROMETHEUS_OPERATOR: "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml",
    CNPG: "config/crd/bases/postgresql.cnpg.io_clusters.yaml",
    **dict.fromkeys(FLUX, "config/crd/bases/*.toolkit.fluxcd.io_*.yaml"),
}


def mistakes(given: Iterable[Object], validator_of: ValidatorOf) -> Iterator[str]:
    """What Kubernetes would refuse."""
    for one in given:
        for error in validator_of(one).iter_errors(one):
            at = "/".join(map(str, error.instance_path))
            yield f"{one['kind']} {one['metadata']['name']} {at}: {error.message[:300]}"


class Loader(yaml.CSafeLoader):
    """Reads the bare `=` that prometheus-operator's CRDs list; PyYAML knows the type of YAML 1.1 and no value of it."""


Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_scalar)


@pytest.fixture(scope="session", params=KUBERNETES, ids=lambda module: module.rpartition("@")[2])
def validator_of(request: pytest.FixtureRequest) -> ValidatorOf:
    """Holds an object against Kubernetes' own schema, or that of its CRD. Unknown fields are mistakes."""

    def find(given: Object) -> jsonschema_rs.Draft202012Validator:
        kind, (group, _, version) = given["kind"], given["apiVersion"].rpartition("/")
        return _operators(group, kind).get(version) or _kubernetes(request.param, group, version, kind)

    return find


@cache
def _operators(group: str, kind: str) -> dict[str, jsonschema_rs.Draft202012Validator]:
    """By version, of a kind that an operator has a CRD for, whose file is named by its group and its plural."""
    beginning = f"{group}_{kind.lower()[:-1]}"
    files = (file for module, pattern in CRDS.items() for file in sorted(go_module_folder(module).glob(pattern)))
    for file in files if "." in group else ():
        if file.name.startswith(beginning):
            for crd in yaml.load_all(file.read_text(), Loader):
                if crd["spec"]["names"]["kind"] == kind:
                    return {version["name"]: _of_crd(version) for version in crd["spec"]["versions"]}
    return {}


def _of_crd(version: Object) -> jsonschema_rs.Draft202012Validator:
    schema = _closed(version["schema"]["openAPIV3Schema"])
    # The API server knows what is in metadata, whatever the CRD says.
    properties = {**schema["properties"], "metadata": {"type": "object"}}
    return jsonschema_rs.Draft202012Validator({**schema, "properties": properties})


@cache
def _kubernetes(module: str, group: str, version: str, kind: str) -> jsonschema_rs.Draft202012Validator:
    document = _document(module, group, version)
    [name] = [
        name
        for name, schema in document["components"]["schemas"].items()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
        if (gvk["group"], gvk["version"], gvk["kind"]) == (group, version, kind)
    ]
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


@cache
def _document(module: str, group: str, version: str) -> Object:
    path = f"apis__{group}__{version}" if group else f"api__{version}"
    file = go_module_folder(module) / "api" / "openapi-spec" / "v3" / f"{path}_openapi.json"
    return dict(_closed(json.loads(file.read_text())))


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
