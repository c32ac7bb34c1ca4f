"""Checks in a temporary namespace whether the cluster can pull the stack's images, before anything is installed.

A pull fails within seconds; a pull that takes longer has started and is considered successful.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from infra import chart
from infra.addons import ADDONS
from infra.cluster_config import Image, Pool
from infra.config import StackConfig
from infra.kubernetes import pods
from infra.kubernetes.cluster import ClusterContext, ClusterUnusable
from infra.kubernetes.kube_api import Document, KubeApi, connect
from infra.mistakes import Mistake

WAIT_S = 60
POLL_S = 0.5
CHECK_LABEL = "headrace.io/preflight"
"""Label on the check's temporary namespace, with the stack's name."""
UID = 10001


@dataclass(frozen=True)
class RequiredImage:
    """An image that pods of one kind pull; `key` is the setting that names it."""

    key: str
    image: str
    policy: str = "IfNotPresent"
    selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Document, ...] = ()


def mistakes(config: StackConfig, cluster: ClusterContext, stack: str) -> list[Mistake]:
    """Reports images that cannot be pulled. It creates temporary pods and must not run during a preview."""
    try:
        with connect(cluster) as api:
            wanted = [w for w in _required_images(config) if w.image not in _running_images(api, config)]
            if not wanted or not api.may_create("", "pods"):
                return []
            if missing := list(_missing_pull_secrets(api, config, stack)):
                return missing
            with _temporary_namespace(api, stack) as namespace:
                return _failed_pulls(api, namespace, wanted, _copy_pull_secrets(api, config, namespace))
    except ClusterUnusable as e:
        return [e.mistake]


def _required_images(config: StackConfig) -> list[RequiredImage]:
    found = [RequiredImage("image", chart.image_reference(config.image), config.image.pull_policy)]
    for i, pool in enumerate(config.pools):
        found.append(_pool_image(f"pools[{i}].image" if pool.image else "image", pool, pool.image or config.image))
    for addon in ADDONS:
        # Driver images have gigabytes and are pulled only by nodes with GPUs.
        if addon.choice(config) == "install" and addon.name != "gpu":
            found += [RequiredImage(f"addons.{addon.name}", image) for image in addon.images(config).values()]
    # For images with a node selector, a check without one is redundant.
    narrow = {w.image for w in found if w.selector}
    found = [w for w in found if w.selector or w.image not in narrow]
    return [w for i, w in enumerate(found) if w not in found[:i]]


def _pool_image(key: str, pool: Pool, image: Image) -> RequiredImage:
    tolerations = tuple(t.model_dump(exclude_defaults=True) | {"operator": t.operator} for t in pool.tolerations)
    return RequiredImage(key, chart.image_reference(image), image.pull_policy, pool.selector, tolerations)


def _running_images(api: KubeApi, config: StackConfig) -> set[str]:
    """Returns the images that pods of the stack and of its add-ons are already running."""
    homes = [config.kubernetes.namespace, *(a.namespace for a in ADDONS if a.choice(config) == "install")]
    current = [pod for home in homes for pod in api.items(f"/api/v1/namespaces/{home}/pods")]
    return {
        container["image"]
        for pod in current
        if pods.images_pulled(pod)
        for kind in ("initContainers", "containers")
        for container in pod["spec"].get(kind) or ()
    }


def _missing_pull_secrets(api: KubeApi, config: StackConfig, stack: str) -> Iterator[Mistake]:
    home = config.kubernetes.namespace
    for i, name in enumerate(config.image.pull_secrets):
        if api.get(f"/api/v1/namespaces/{home}/secrets/{name}") is None:
            fix = (
                f"create it: kubectl create namespace {home}, kubectl label namespace {home} headrace.io/stack={stack},"
                f" kubectl create secret docker-registry {name} -n {home}"
            )
            yield Mistake(f"image.pull_secrets[{i}]", f"namespace '{home}' has no Secret '{name}'", fix)


def _copy_pull_secrets(api: KubeApi, config: StackConfig, namespace: str) -> list[Document]:
    for name in config.image.pull_secrets:
        found = api.get(f"/api/v1/namespaces/{config.kubernetes.namespace}/secrets/{name}") or {}
        copy = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        api.post(f"/api/v1/namespaces/{namespace}/secrets", {**copy, "type": found["type"], "data": found["data"]})
    return [{"name": name} for name in config.image.pull_secrets]


@contextmanager
def _temporary_namespace(api: KubeApi, stack: str) -> Iterator[str]:
    """Creates a temporary namespace and deletes it afterwards, together with those of killed checks."""
    for old in api.items(f"/api/v1/namespaces?labelSelector={CHECK_LABEL}%3D{stack}"):
        api.delete(f"/api/v1/namespaces/{old['metadata']['name']}")
    labels = {CHECK_LABEL: stack, "pod-security.kubernetes.io/enforce": "restricted"}
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"generateName": "headrace-preflight-", "labels": labels},
    }
    name = str(api.post("/api/v1/namespaces", body)["metadata"]["name"])
    try:
        _wait_for_service_account(api, name)
        yield name
    finally:
        api.delete(f"/api/v1/namespaces/{name}")


def _wait_for_service_account(api: KubeApi, namespace: str) -> None:
    """Waits for the default ServiceAccount, without which no pod is admitted."""
    deadline = time.monotonic() + WAIT_S
    while api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default") is None and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _failed_pulls(
    api: KubeApi, namespace: str, wanted: Sequence[RequiredImage], secrets: list[Document]
) -> list[Mistake]:
    home = f"/api/v1/namespaces/{namespace}/pods"
    open_ = {str(api.post(home, _pod(w, secrets))["metadata"]["name"]): w for w in wanted}
    found: dict[tuple[str, str], Mistake] = {}
    deadline = time.monotonic() + WAIT_S
    while open_ and time.monotonic() < deadline:
        for pod in api.items(home):
            name = pod["metadata"]["name"]
            if name in open_ and (why := pods.pull_error(pod)):
                failed = open_.pop(name)
                found.setdefault((failed.key, failed.image), _mistake(failed, why))
            elif name in open_ and pods.images_pulled(pod):
                del open_[name]
        time.sleep(POLL_S)
    return list(found.values())


def _mistake(wanted: RequiredImage, why: str) -> Mistake:
    if wanted.key.startswith("addons."):
        fix = "correct headrace:mirror.images, or allow nodes to reach the registry"
    else:
        fix = "push it, correct its name or digest, or set image.pull_secrets"
    return Mistake(wanted.key, f"the cluster {why}", fix)


def _pod(wanted: RequiredImage, secrets: list[Document]) -> Document:
    confined = {"runAsNonRoot": True, "runAsUser": UID, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": "image",
        "image": wanted.image,
        "imagePullPolicy": wanted.policy,
        # The program need not exist in the image, which is pulled before it would run.
        "command": ["true"],
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "image-"},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 10 * WAIT_S,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "imagePullSecrets": secrets,
            "securityContext": confined,
            "nodeSelector": wanted.selector,
            "tolerations": list(wanted.tolerations),
        },
    }
