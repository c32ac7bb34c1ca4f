"""A stack that breaks no rule, and small changes of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = f"registry.example.com/headrace/serving@{DIGEST}"
LABELS = {
    "app.kubernetes.io/name": "headrace",
    "app.kubernetes.io/instance": "headrace",
    "app.kubernetes.io/part-of": "headrace",
}
META = {"namespace": "headrace", "labels": LABELS}
POD = {
    "serviceAccountName": "headrace",
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname"}],
    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
}
CONTAINER = {
    "name": "main",
    "image": IMAGE,
    "command": ["python", "-m", "serving.telemetry.exporter"],
    "ports": [{"name": "metrics", "containerPort": 9464}],
    "env": [{"name": "LANG", "value": "C.UTF-8"}],
    "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "securityContext": {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    },
    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}},
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}},
}
WAIT = {**CONTAINER, "name": "wait", "readinessProbe": None, "livenessProbe": None}
RAY_CONTAINER = {
    **{k: v for k, v in CONTAINER.items() if not k.endswith("Probe")},
    "name": "ray",
    "env": [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN_PATH", "value": "/etc/headrace/ray/token"},
    ],
}
GPU_CONTAINER = {
    **RAY_CONTAINER,
    "resources": {
        "requests": {"cpu": "4", "memory": "64Gi", "nvidia.com/gpu": 1},
        "limits": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": 1},
    },
}
GPU_POD = {
    **POD,
    "nodeSelector": {"nvidia.com/gpu.present": "true"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
}
SERVE = {
    "applications": [
        {
            "name": "headrace",
            "args": {
                "limits": {"in_flight": 64, "queue": 128},
                "key_secret": {"ref": "file:/etc/headrace/secrets/key-secret"},
            },
            "deployments": [{"name": "Gateway", "graceful_shutdown_timeout_s": 600}, {"name": "Retrieval"}],
        }
    ]
}
RAY_SERVICE = {
    "rayClusterDeletionDelaySeconds": 660,
    "serveConfigV2": yaml.safe_dump(SERVE),
    "rayClusterConfig": {
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "127.0.0.1"},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {**POD, "containers": [RAY_CONTAINER, {**CONTAINER, "name": "door"}]},
            },
        },
        "workerGroupSpecs": [
            {
                "groupName": "serving",
                "replicas": 2,
                "template": {
                    "metadata": {"labels": LABELS},
                    "spec": {
                        **POD,
                        "initContainers": [
                            {**CONTAINER, "name": "wait", "readinessProbe": None, "livenessProbe": None}
                        ],
                        "containers": [RAY_CONTAINER],
                    },
                },
            },
            {
                "groupName": "gpu",
                "replicas": 1,
                "template": {"metadata": {"labels": LABELS}, "spec": {**GPU_POD, "containers": [GPU_CONTAINER]}},
            },
        ],
    },
}
JOB = {
    "backoffLimit": 3,
    "activeDeadlineSeconds": 600,
    "ttlSecondsAfterFinished": 3600,
    "template": {
        "metadata": {"labels": LABELS},
        "spec": {**POD, "restartPolicy": "Never", "containers": [{**CONTAINER, "livenessProbe": None}]},
    },
}


def thing(api_version: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    """An object with metadata of its own, deep enough to be changed."""
    metadata = {**META, "name": name} if "metadata" not in fields else fields.pop("metadata")
    return copy.deepcopy({"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields})


@cache
def parts() -> Mapping[str, dict[str, Any]]:
    """Every object of the stack, by a short name. Nobody may change them: all tests share them."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    template = {"metadata": {"labels": LABELS}, "spec": {**POD, "containers": [CONTAINER]}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {
        "namespace": thing("v1", "Namespace", "headrace", metadata={"name": "headrace", "labels": restricted}),
        "deny": thing(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "default-deny",
            spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        ),
        "account": thing("v1", "ServiceAccount", "headrace", automountServiceAccountToken=False),
        "role": thing(
            "rbac.authorization.k8s.io/v1",
            "Role",
            "head",
            rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
        ),
        "binding": thing(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "head",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "head"},
            subjects=[{"kind": "ServiceAccount", "name": "headrace"}],
        ),
        "secret": thing("v1", "Secret", "headrace", data={"api-key": "aHJfeA=="}),
        "config": thing("v1", "ConfigMap", "headrace-serve", data={"serve.json": "{}"}),
        "deployment": thing("apps/v1", "Deployment", "exporter", spec={"replicas": 2, "template": template}),
        "budget": thing(
            "policy/v1",
            "PodDisruptionBudget",
            "headrace",
            spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/instance": "headrace"}}},
        ),
        "stateful": thing(
            "apps/v1",
            "StatefulSet",
            "postgres",
            spec={
                "template": template,
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
            },
        ),
        "claim": thing("v1", "PersistentVolumeClaim", "gcs", spec=claim),
        "job": thing("batch/v1", "Job", "migrate", spec=JOB),
        "cron": thing("batch/v1", "CronJob", "backup", spec={"schedule": "0 3 * * *", "jobTemplate": {"spec": JOB}}),
        "ray": thing("ray.io/v1", "RayService", "headrace", spec=RAY_SERVICE),
        "service": thing(
            "v1", "Service", "api", spec={"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]}
        ),
        "ingress": thing(
            "networking.k8s.io/v1",
            "Ingress",
            "api",
            spec={"rules": [{"host": "llm.example.com"}], "tls": [{"hosts": ["llm.example.com"], "secretName": "tls"}]},
        ),
        "gateway": thing(
            "gateway.networking.k8s.io/v1",
            "Gateway",
            "edge",
            spec={
                "listeners": [
                    {"name": "http", "port": 80, "protocol": "HTTP"},
                    {"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "tls"}]}},
                ]
            },
        ),
        "route": thing(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "api",
            spec={
                "parentRefs": [{"name": "edge", "sectionName": "https"}],
                "rules": [{"backendRefs": [{"name": "headrace-serve-svc", "port": 8000}]}],
            },
        ),
        "definition": thing(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "rayservices.ray.io",
            metadata={"name": "rayservices.ray.io", "annotations": {"helm.sh/resource-policy": "keep"}},
            spec={"group": "ray.io"},
        ),
        "inference": thing(
            "serving.kserve.io/v1beta1",
            "InferenceService",
            "smollm2",
            spec={
                "predictor": {
                    "serviceAccountName": "headrace",
                    "automountServiceAccountToken": False,
                    "model": {"modelFormat": {"name": "gguf"}, "resources": CONTAINER["resources"]},
                }
            },
        ),
        "runtime": thing(
            "serving.kserve.io/v1alpha1",
            "ServingRuntime",
            "llamacpp",
            spec={
                "containers": [
                    {
                        **CONTAINER,
                        "name": "kserve-container",
                        "securityContext": {
                            **CONTAINER["securityContext"],
                            "runAsNonRoot": True,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                    }
                ]
            },
        ),
        "operator": thing(
            "helm.sh/v3",
            "Release",
            "kuberay",
            chart="kuberay-operator",
            version="1.5.0",
            values={"watch": ["headrace"]},
        ),
        "gpu": thing("helm.sh/v3", "Release", "gpu", chart="gpu-operator", version="v25.10.0", values={}),
    }


def whole() -> list[dict[str, Any]]:
    """The stack as objects."""
    return list(parts().values())


REMOVED = object()


def changed(*edit: Any) -> list[dict[str, Any]]:
    """`edited` with one edit."""
    return edited(edit)


def edited(*edits: tuple[Any, ...]) -> list[dict[str, Any]]:
    """The stack with values of parts set or `REMOVED`, each as part, path and value.

    A number in a path is a list's index, `~1` a `/` in a key; an empty path removes the part.
    """
    every = dict(parts())
    for part in {part for part, _, _ in edits}:
        every[part] = copy.deepcopy(every[part])
    for part, path, value in edits:
        if not path:
            del every[part]
            continue
        *way, last = (int(s) if s.isdigit() else s.replace("~1", "/") for s in path.split("/"))
        node: Any = every[part]
        for step in way:
            node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
    return list(every.values())


def with_more(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """The stack with more objects."""
    return [*whole(), *copy.deepcopy(more)]
