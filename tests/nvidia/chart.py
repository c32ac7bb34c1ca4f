"""NVIDIA's chart of its device plugin, which its Go module contains, rendered with the values of our add-on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from infra.addons.gpu import GPU
from infra.config import StackConfig
from infra.gpu import placement
from infra.versions import GPU_DEVICE_PLUGIN
from tests.nvidia.node import NAME
from tests.rendering.kuberay_chart import go_module_folder

Helm = Callable[..., subprocess.CompletedProcess[str]]
Document = dict[str, Any]

MODULE = f"github.com/NVIDIA/k8s-device-plugin@v{GPU_DEVICE_PLUGIN.version}"
FIELDS = {"spec.nodeName": NAME, "metadata.namespace": GPU.namespace}
"""Fields of a pod that the environment of its containers refers to."""


@dataclass(frozen=True)
class Release:
    """The objects of a release."""

    objects: tuple[Document, ...]

    @cached_property
    def pods(self) -> Mapping[str, Document]:
        """The pods that run on nodes with GPUs, by the name of their DaemonSet without the release's."""
        found = {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in self._of("DaemonSet")}
        return {name.removeprefix("gpu-").removeprefix("nvidia-device-plugin-"): pod for name, pod in found.items()}

    @property
    def configs(self) -> Mapping[str, str]:
        """The device plugin's configurations by name; empty if there are none."""
        found = [o for o in self._of("ConfigMap") if o["metadata"]["name"].endswith("-configs")]
        return dict(found[0]["data"]) if found else {}

    @property
    def discovery(self) -> str:
        """The configuration of node feature discovery's worker."""
        [found] = [o for o in self._of("ConfigMap") if "nfd-worker.conf" in o["data"]]
        return str(found["data"]["nfd-worker.conf"])

    def environment(self, container: str) -> Mapping[str, str]:
        """Returns the environment of a container, as the kubelet makes it."""
        every = [c for pod in self.pods.values() for c in (*(pod.get("initContainers") or ()), *pod["containers"])]
        [found] = [c for c in every if c["name"] == container]
        return {
            entry["name"]: str(entry.get("value") or "") if "valueFrom" not in entry else FIELDS[path]
            for entry in found["env"]
            if (path := entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")) in (None, *FIELDS)
        }

    def _of(self, kind: str) -> list[Document]:
        return [o for o in self.objects if o["kind"] == kind]


def release(config: StackConfig, helm: Helm) -> Release:
    """Renders the chart for a stack whose GPUs the device plugin advertises."""
    placed = placement.place(config)
    assert GPU.chart(placed) is GPU_DEVICE_PLUGIN
    chart = go_module_folder(MODULE) / "deployments" / "helm" / GPU_DEVICE_PLUGIN.name
    values = json.dumps(GPU.values(placed, GPU.images(placed)))
    done = helm("template", "gpu", str(chart), "--namespace", GPU.namespace, "--values", "-", stdin=values)
    assert done.returncode == 0, done.stderr
    return Release(tuple(o for o in yaml.load_all(done.stdout, yaml.CSafeLoader) if o))
