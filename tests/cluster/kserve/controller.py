"""What KServe's controller does with an InferenceService in Standard mode, as far as the stack relies on it.

The controller itself cannot be had here. This one has its CRDs (without schemas), turns an InferenceService and its
ServingRuntime into a Deployment and a Service as `pkg/controller/v1beta1/inferenceservice` of KServe 0.20 does, and
writes the status. It knows no storage but volumes (`pvc://NAME/FOLDER`).
"""

from __future__ import annotations

import copy
import json
import threading
from typing import Any

from tools.cluster.kubectl import kubectl
from tools.report import ToolError

Object = dict[str, Any]

GROUP = "serving.kserve.io"
PORT = 8080
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
    claim, _, folder = model["storageUri"].removeprefix("pvc://").partition("/")
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


class Controller(threading.Thread):
    """Reconciles the InferenceServices of a namespace until it is closed. `problem` is what ended it early."""

    def __init__(self, namespace: str) -> None:
        super().__init__(name="kserve", daemon=True)
        self._namespace = namespace
        self._closed = threading.Event()
        self.problem = ""
        self.ready: set[str] = set()

    def run(self) -> None:
        while not self._closed.wait(1):
            try:
                for service in self._list(f"inferenceservices.{GROUP}"):
                    self._reconcile(service)
            except ToolError as error:  # objects come and go while it looks
                self.problem = str(error)
            else:
                self.problem = ""

    def close(self) -> None:
        self._closed.set()
        self.join()

    def _list(self, kind: str) -> list[Object]:
        return list(json.loads(kubectl(f"-n={self._namespace}", "get", kind, "-o=json"))["items"])

    def _reconcile(self, service: Object) -> None:
        if "deletionTimestamp" in service["metadata"]:
            return
        name = service["metadata"]["name"]
        wanted = service["spec"]["predictor"]["model"]["runtime"]
        runtime = json.loads(kubectl(f"-n={self._namespace}", "get", f"servingruntimes.{GROUP}", wanted, "-o=json"))
        made = [deployment(service, runtime), cluster_service(service)]
        kubectl("apply", "-f=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
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
            self.ready.add(name)
