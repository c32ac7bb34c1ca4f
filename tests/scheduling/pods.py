"""The pods that a stack's parts really make: the chart's, KubeRay's, those of other operators and of add-ons."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra import chart, kserve
from infra.addons import ADDONS
from infra.addons.addon import Addon
from infra.addons.gpu import GPU
from infra.addons.postgres import CLUSTER as DATABASE
from infra.addons.postgres import cluster as database
from infra.config import StackConfig
from infra.gpu import placement
from infra.layout import CHECKOUT
from infra.nodes.resources import Resources, parse_quantity
from tests.rendering.chart import CHART
from tests.scheduling.control_plane import ControlPlane
from tools.binaries.find import ensure

Object = dict[str, Any]

EVERY_TAINT = [{"operator": "Exists"}]

_READ_BY_SCHEDULER = (
    *(
        "nodeSelector",
        "affinity",
        "tolerations",
        "topologySpreadConstraints",
        "schedulingGates",
        "overhead",
        "resources",
    ),
)

_READ_OF_CONTAINER = ("resources", "restartPolicy", "ports")


@dataclass(frozen=True)
class Pod:
    """A pod, or what a DaemonSet makes on each node that it fits."""

    name: str
    spec: Object
    labels: Mapping[str, str] = field(default_factory=dict)
    daemon: bool = False
    start: str = ""
    """How Ray is started in it, by KubeRay."""


def bare(spec: Mapping[str, Any]) -> Object:
    """What a scheduler reads of a pod's specification. The rest is large, and each run sends it again."""
    kept = {key: spec[key] for key in _READ_BY_SCHEDULER if spec.get(key)}
    # Of a pod that exists, the selector has what matchLabelKeys have added to it, which nobody may repeat.
    spread = spec.get("topologySpreadConstraints", ())
    kept["topologySpreadConstraints"] = [{k: v for k, v in one.items() if k != "matchLabelKeys"} for one in spread]
    kept["volumes"] = [one for one in spec.get("volumes", ()) if "persistentVolumeClaim" in one]
    for kind in ("containers", "initContainers"):
        kept[kind] = [
            {"name": one["name"], "image": "none", **{k: one[k] for k in _READ_OF_CONTAINER if one.get(k)}}
            for one in spec.get(kind) or ()
        ]
    return kept


def memory(pod: Pod) -> int:
    """What its containers request, init containers aside."""
    found = [one.get("resources", {}).get("requests", {}).get("memory", "0") for one in pod.spec["containers"]]
    return int(sum(map(parse_quantity, found)))


def _plain(requests: list[Mapping[str, str]], **spec: Any) -> Object:
    """The specification of a pod with these requests, one container each."""
    containers = [
        {"name": f"c{i}", "image": "none", "resources": {"requests": dict(one)}} for i, one in enumerate(requests)
    ]
    return {"containers": containers, **spec}


def _amounts(resources: Resources) -> dict[str, str]:
    return {"cpu": f"{resources.cpu}m", "memory": str(resources.memory)}


def system_pods(config: StackConfig) -> Iterator[Pod]:
    """Pods of the cloud, with the requests that its documents and manifests state."""
    cloud = placement.NODE_POOL_RULES[config.target].cloud
    assert cloud is not None
    rules = placement.cloud_rules(cloud)
    # Their priority would displace other pods. They come first here, which leads to the same.
    for name, resources in rules.system_pods(getattr(config, config.target)):
        yield Pod(name.replace(" ", "-"), _plain([_amounts(resources)]))
    yield Pod("cloud", _plain([_amounts(rules.NODE_PODS)], tolerations=EVERY_TAINT), daemon=True)


@cache
def _transcribed() -> Mapping[str, list[Object]]:
    found: Mapping[str, list[Object]] = yaml.safe_load((Path(__file__).parent / "addons.yaml").read_text())
    return found


def _of_addon(addon: Addon, config: StackConfig) -> Iterator[Pod]:
    name = addon.chart(config).name if addon is GPU else addon.name
    values = addon.values(config, addon.images(config))
    of_gpus = values.get("tolerations") or values.get("daemonsets", {}).get("tolerations")
    for one in _transcribed()[name]:
        tolerations = {"all": EVERY_TAINT, "gpu": of_gpus, "": None}[one.get("tolerations", "")]
        spec = _plain(one["requests"], **({"tolerations": tolerations} if tolerations else {}))
        if one.get("gpus"):
            spec["nodeSelector"] = {"headrace.test/gpus": "true"}
        yield Pod(one["name"], spec, daemon=one.get("daemon", False))


def addon_pods(config: StackConfig) -> Iterator[Pod]:
    """Pods of the add-ons that the stack installs."""
    for addon in ADDONS:
        if addon.choice(config) == "install":
            yield from _of_addon(addon, config)


def database_pods(config: StackConfig) -> Iterator[Pod]:
    """CloudNativePG's pods; the jobs before each request the same, and end first."""
    if config.database.kind != "cloudnativepg":
        return
    spec = database(config)
    labels = {"cnpg.io/cluster": DATABASE}
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    # enablePodAntiAffinity and podAntiAffinityType: preferred, the operator's defaults.
    apart = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    for i in range(spec["instances"]):
        container = {"name": "postgres", "image": "none", "resources": spec["resources"]}
        pod = {"initContainers": [{**container, "name": "bootstrap"}], "containers": [container]}
        yield Pod(f"{DATABASE}-{i + 1}", {**pod, "affinity": {"podAntiAffinity": apart}}, labels)


def kserve_pods(config: StackConfig) -> Iterator[Pod]:
    """The pods of KServe's Deployments, with its storage initializer, when they are scaled out."""
    images = dict.fromkeys(kserve.FORMATS, "none")
    services = {o["metadata"]["name"]: o for o in kserve.objects(config, "default", images, "1")}
    for model in kserve.kserve_models(config):
        if model.existing:
            continue
        spec = services[model.service]["spec"]
        canaries = spec.get("canary") or []
        predictors = [(spec["predictor"], spec["predictor"]["maxReplicas"]), *((c["predictor"], 1) for c in canaries)]
        for kind, (predictor, number) in enumerate(predictors):
            kept = {k: predictor[k] for k in _READ_BY_SCHEDULER if predictor.get(k)}
            container = {"name": "m", "image": "none", "resources": predictor["model"]["resources"]}
            # https://github.com/kserve/kserve/blob/v0.20.0/config/configmap/inferenceservice.yaml (storageInitializer)
            small = {"cpu": "100m", "memory": "100Mi"}
            first = {"name": "storage-initializer", "image": "none", "resources": {"requests": small}}
            pod = {**kept, "initContainers": [first], "containers": [container]}
            for i in range(number):
                yield Pod(f"kserve-{model.service}-{kind}-{i}", pod, predictor["labels"])


def helm(values: Mapping[str, Any], home: Path) -> list[Object]:
    """The chart's workloads, rendered by Helm."""
    binary = ensure(["helm"])["helm"]
    env = {**os.environ, "HOME": str(home), "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home), "GOGC": "off"}
    env.pop("KUBECONFIG", None)
    done = subprocess.run(
        [binary, "template", chart.RELEASE, str(CHART), "-n", "default", "--values", "-"],
        env=env,
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    kinds = ("kind: RayService\n", "kind: Job\n", "kind: CronJob\n")
    texts = [text for text in done.stdout.split("\n---\n") if any(kind in text for kind in kinds)]
    return [one for text in texts for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def chart_objects(config: StackConfig, home: Path) -> list[Object]:
    """The workloads that the chart makes of a placed configuration, without its rules and dashboards."""
    values = chart.values(config, "stack", CHECKOUT, {})
    off: Object = {"podMonitor": {"enabled": False}, "rules": {"enabled": False}, "dashboards": {"enabled": False}}
    return helm({**values, "monitoring": off}, home)


def job_pods(objects: list[Object]) -> Iterator[Pod]:
    """The pods of the chart's Jobs, and of one run of each CronJob."""
    for one in objects:
        if one["kind"] == "RayService":
            continue
        job = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
        template = job["template"]
        yield Pod(one["metadata"]["name"], bare(template["spec"]), template["metadata"]["labels"])


def ray_pods(service: Object, control_plane: ControlPlane) -> list[Pod]:
    """The pods that KubeRay makes of a RayService, its worker groups as large as they get.

    KubeRay is asked for one worker of each group: the others are the same but for their name.
    """
    service = json.loads(json.dumps(service))
    spec = service["spec"]["rayClusterConfig"]
    scaled = spec["enableInTreeAutoscaling"]
    sizes = {}
    for group in spec["workerGroupSpecs"]:
        sizes[group["groupName"]] = group["maxReplicas"] if scaled else group["replicas"]
        group |= {"replicas": 1, "minReplicas": 1, "maxReplicas": 1, "numOfHosts": 1}
    for template in (spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])):
        # The autoscaler that KubeRay adds mounts some of the volumes.
        whole = template["spec"]
        template["spec"] = {**bare(whole), "volumes": whole["volumes"], "schedulerName": "nobody"}
    service["spec"]["serveConfigV2"] = "applications: []"
    made = control_plane.made_by_kuberay(service, 1 + len(sizes))
    pods = []
    for pod in sorted(made, key=lambda pod: int(pod["metadata"]["labels"]["ray.io/node-type"] != "head")):
        labels = pod["metadata"]["labels"]
        group = labels["ray.io/group"]
        number = 1 if labels["ray.io/node-type"] == "head" else sizes[group]
        spec, start = bare(pod["spec"]), _start_of_ray(pod["spec"])
        pods += [Pod(f"ray-{group}-{i}", spec, labels, start=start) for i in range(number)]
    return pods


def _start_of_ray(spec: Mapping[str, Any]) -> str:
    environment = spec["containers"][0]["env"]
    return next(str(one["value"]) for one in environment if one["name"] == "KUBERAY_GEN_RAY_START_CMD")


def all_pods(config: StackConfig, control_plane: ControlPlane, home: Path) -> list[Pod]:
    """All pods of a placed configuration, in the order in which `up` makes them."""
    objects = chart_objects(config, home)
    [service] = [one for one in objects if one["kind"] == "RayService"]
    return [
        *system_pods(config),
        *addon_pods(config),
        *database_pods(config),
        *job_pods(objects),
        *ray_pods(service, control_plane),
        *kserve_pods(config),
    ]
