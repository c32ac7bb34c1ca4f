"""Checks a cluster before a stack is installed on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.addons import ADDONS
from infra.addons.addon import chart_source, manifest_paths
from infra.config import StackConfig
from infra.kubernetes.cluster import KUBECONFIG_KEY, ClusterContext, ClusterUnusable
from infra.kubernetes.kube_api import Document, KubeApi, connect
from infra.mistakes import Mistake
from infra.versions import IMAGE_VOLUMES_SINCE, KUBERNETES_AT_LEAST, Chart

STACK_LABEL = "headrace.io/stack"
"""Label on every namespace that a stack created, with the stack's name."""

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
GPU = "nvidia.com/gpu"

NAMESPACED_RESOURCES = (
    ("", "secrets"),
    ("", "configmaps"),
    ("", "persistentvolumeclaims"),
    ("", "serviceaccounts"),
    ("batch", "jobs"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("ray.io", "rayservices"),
)
CLUSTER_RESOURCES = (("", "namespaces"),)
EXTERNAL_SECRETS = "external-secrets.io"
EXTERNAL_SECRETS_API = f"{EXTERNAL_SECRETS}/v1"
ADDON_RESOURCES = (
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
)
"""Resources that add-ons create, as (API group, resource)."""


def mistakes(config: StackConfig, cluster: ClusterContext, stack: str) -> list[Mistake]:
    """Reports all problems that prevent the installation of `stack`, or that the cluster does not answer."""
    found: list[Mistake] = []
    try:
        with connect(cluster) as api:
            found += _version(config, api)
            for check in CHECKS if not found else ():
                found += check(config, api, stack)
    except ClusterUnusable as e:
        return found or [e.mistake]  # the list of missing permissions tells more than the rejected request
    return found


def _version(config: StackConfig, api: KubeApi) -> Iterator[Mistake]:
    version = api.get("/version") or {}
    numbers = [int("".join(filter(str.isdigit, str(version.get(part, "")))) or 0) for part in ("major", "minor")]
    if tuple(numbers) < KUBERNETES_AT_LEAST:
        oldest = ".".join(map(str, KUBERNETES_AT_LEAST))
        problem = f"the cluster runs Kubernetes {version.get('gitVersion', '(unknown)')}, but {oldest} is the oldest"
        yield Mistake("kubernetes.context", f"{problem} that is supported", "upgrade it, or choose another cluster")
    for i, pool in enumerate(config.pools):
        if any(volume.image for volume in pool.volumes) and tuple(numbers) < IMAGE_VOLUMES_SINCE:
            oldest = ".".join(map(str, IMAGE_VOLUMES_SINCE))
            problem = f"has an image, which pods can mount from Kubernetes {oldest} on"
            yield Mistake(f"pools[{i}].volumes", problem, "upgrade the cluster, or use a claim")


def _permissions(config: StackConfig, api: KubeApi, stack: str) -> Iterator[Mistake]:
    del stack
    wanted = [(group, kind, config.kubernetes.namespace) for group, kind in NAMESPACED_RESOURCES]
    wanted += [(group, kind, "") for group, kind in CLUSTER_RESOURCES]
    if any(pool.weights and pool.weights.kind == "node" for pool in config.pools):
        wanted.append(("", "persistentvolumes", ""))
    if config.kubernetes.external_secret:
        wanted.append((EXTERNAL_SECRETS, "externalsecrets", config.kubernetes.namespace))
    if any(addon.choice(config) == "install" for addon in ADDONS):
        wanted += [(group, kind, "") for group, kind in ADDON_RESOURCES]
    denied = [kind for group, kind, namespace in wanted if not api.may_create(group, kind, namespace)]
    if denied:
        problem = f"its user may not create {', '.join(denied)}"
        yield Mistake(KUBECONFIG_KEY, problem, "use a user with these permissions, such as cluster-admin")


def _namespaces(config: StackConfig, api: KubeApi, stack: str) -> Iterator[Mistake]:
    namespace = config.kubernetes.namespace
    owner = _namespace_owner(api, namespace)
    if owner not in (None, stack):
        creator = f"created by stack '{owner}'" if owner else "not created by this stack"
        problem = f"the namespace '{namespace}' already exists, {creator}"
        yield Mistake("kubernetes.namespace", problem, "choose another one, or delete it")


def _addons(config: StackConfig, api: KubeApi, stack: str) -> Iterator[Mistake]:
    kinds = _served_kinds(api)
    for addon in ADDONS:
        choice = addon.choice(config)
        missing = [kind for kind in addon.kinds if kind not in kinds]
        if choice == "existing" and missing:
            problem = f"is configured as existing, but the cluster has no CRD {', '.join(missing)}"
            yield Mistake(f"addons.{addon.name}", problem, "install it first, or use auto")
        if choice == "off" and missing and addon.name == "gateway" and config.ingress.gateway:
            problem = f"is set, but the cluster has no CRD {', '.join(missing)}"
            yield Mistake("ingress.gateway", problem, "install a Gateway API implementation, or remove it")
        if choice != "install":
            continue
        owner = _namespace_owner(api, addon.namespace)
        if owner == stack:
            continue
        if existing := [kind for kind in addon.kinds if kind in kinds]:
            problem = f"is already installed in the cluster (CRD {existing[0]})"
            yield Mistake(f"addons.{addon.name}", problem, "use {existing: NAME}")
        elif owner is not None:
            problem = f"the namespace '{addon.namespace}' already exists, not created by this stack"
            yield Mistake(f"addons.{addon.name}", problem, "use {existing: NAME}, or delete the namespace")


def _secret_store(config: StackConfig, api: KubeApi, stack: str) -> Iterator[Mistake]:
    """Reports a missing External Secrets Operator, which no add-on installs."""
    del stack
    if config.kubernetes.external_secret is None:
        return
    found = (api.get(f"/apis/{EXTERNAL_SECRETS_API}") or {}).get("resources") or []
    if "externalsecrets" not in {resource["name"] for resource in found}:
        problem = f"is set, but the cluster has no CRD externalsecrets.{EXTERNAL_SECRETS} of version v1"
        yield Mistake("kubernetes.external_secret", problem, "install the External Secrets Operator, or remove it")


def _storage(config: StackConfig, api: KubeApi, stack: str) -> Iterator[Mistake]:
    del stack
    general = config.kubernetes.storage_class
    wanted = {"kubernetes.storage_class": general}  # always needed for Ray's control state
    if not config.data.uri:
        wanted["data.storage_class"] = config.data.storage_class or general
    if config.database.kind == "cloudnativepg":
        wanted["database.storage_class"] = config.database.storage_class or general
    for i, pool in enumerate(config.pools):
        if pool.weights is not None and pool.weights.kind != "node" and not pool.weights.claim:
            wanted[f"pools[{i}].weights.storage_class"] = pool.weights.storage_class or general
    classes = api.items("/apis/storage.k8s.io/v1/storageclasses")
    names = [c["metadata"]["name"] for c in classes]
    reported = set()
    for key, name in wanted.items():
        if name and name not in names and name not in reported:
            reported.add(name)
            yield Mistake.unknown(key, name, "storage class", names)
    default = any((c["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true" for c in classes)
    if not default and not all(wanted.values()):
        problem = "is missing, but the cluster has no default storage class"
        fix = f"use one of {', '.join(names)}" if names else "install a storage provider"
        yield Mistake("kubernetes.storage_class", problem, fix)


def _gpus(config: StackConfig, api: KubeApi, stack: str) -> Iterator[Mistake]:
    del stack
    pools = [(i, p) for i, p in enumerate(config.pools) if p.gpus and p.replicas]
    nodes = api.items("/api/v1/nodes") if pools else []
    advertised = any(_allocatable_gpus(node) for node in nodes)
    [addon] = [a for a in ADDONS if a.name == "gpu"]
    for i, pool in pools:
        # The GPU add-on sets the product label; before its installation, check only the configured labels.
        selector = pool.selector if advertised else pool.node_selector
        matching = [n for n in nodes if selector.items() <= (n["metadata"].get("labels") or {}).items()]
        if not matching:
            yield Mistake(
                f"pools[{i}].node_selector", f"no node has {_format_labels(selector)}", "label nodes, or correct it"
            )
        elif max(map(_allocatable_gpus, matching)) < pool.gpus and (advertised or addon.choice(config) != "install"):
            problem = f"no node of pool '{pool.name}' offers {pool.gpus} {GPU} ({len(matching)} match)"
            yield Mistake(f"pools[{i}].gpus", problem, "lower it, choose other nodes, or install the gpu add-on")


def _allocatable_gpus(node: Document) -> int:
    return int(((node.get("status") or {}).get("allocatable") or {}).get(GPU, "0"))


def _format_labels(selector: Mapping[str, str]) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(selector.items())) or "any label"


def _served_kinds(api: KubeApi) -> set[str]:
    """Returns the served CRDs of the add-ons' groups, from the discovery API, since CRDs themselves are large."""
    wanted = {kind.partition(".")[2] for addon in ADDONS for kind in addon.kinds}
    kinds = set()
    for group in (api.get("/apis") or {}).get("groups") or []:
        for version in group["versions"] if group["name"] in wanted else ():
            found: dict[str, Any] = api.get(f"/apis/{version['groupVersion']}") or {}
            kinds |= {f"{resource['name']}.{group['name']}" for resource in found.get("resources") or []}
    return kinds


def _namespace_owner(api: KubeApi, namespace: str) -> str | None:
    """Returns the stack that created a namespace, an empty string for any other creator, None without namespace."""
    found = api.get(f"/api/v1/namespaces/{namespace}")
    return None if found is None else str((found["metadata"].get("labels") or {}).get(STACK_LABEL, ""))


CHECKS: tuple[Callable[[StackConfig, KubeApi, str], Iterable[Mistake]], ...] = (
    _permissions,
    _namespaces,
    _addons,
    _secret_store,
    _storage,
    _gpus,
)


def missing_charts(config: StackConfig) -> list[Mistake]:
    """Reports charts and manifests that are missing in the mirror's folder."""
    if not config.mirror.charts or config.mirror.charts.startswith("oci://"):
        return []
    wanted: list[str] = []
    for addon in ADDONS:
        if addon.choice(config) != "install":
            continue
        wanted.append(chart_source(addon.chart(config), config.mirror).chart)
        if isinstance(addon.crds, Chart):
            wanted.append(chart_source(addon.crds, config.mirror).chart)
        elif addon.crds:
            wanted += manifest_paths(addon.crds, config.mirror)
    fix = "add it, or correct mirror.charts"
    return [Mistake("mirror.charts", f"{path} is missing", fix) for path in wanted if not Path(path).is_file()]
