"""The stack on the test cluster: everything around it (images, database, a slow model, Prometheus), and `up`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.cluster import around
from tests.cluster.images import Images, load_images
from tests.cluster.kserve.controller import FILE, kserve
from tests.cluster.objects import objects
from tests.cluster.prometheus import kinds, prometheus
from tests.rendering.kuberay_chart import pack_kuberay
from tests.stacks.stack import Stack, settings_for_tests
from tests.wait import eventually, last
from tools.cluster.kubectl import kubectl
from tools.cluster.layout import KUBECONFIG
from tools.machines import network
from tools.report import ToolError

NAMESPACE = "headrace"
NAME = "test-cluster"
UP_S = 1800
"""It takes about 4 minutes; more than 15 were seen on a host where memory that was freed is slow to get again."""


@dataclass(frozen=True)
class ClusterStack(Stack):
    """A stack whose Service this host reaches through a node. `printed` is what its first `up` said."""

    printed: str = field(default="", repr=False)

    def run(self, verb: str, *arguments: str, check: bool = True, timeout: float = UP_S) -> str:
        return super().run(verb, *arguments, check=check, timeout=timeout)

    def outputs(self) -> ClusterStack:
        lines = dict(line.removeprefix("export ").split("=", 1) for line in self.run("env").splitlines())
        url = f"http://{around.address(NAMESPACE, 'headrace-serve-svc')}:8000"
        return replace(self, url=url, key=lines["KEY"].strip("'"))


KSERVED = {
    "name": "kserved",
    "engine": "kserve",
    "runtime": "llamacpp",
    "storage": "pvc://kserve-weights/smollm2",
    "file": FILE,
    "cpus": 0.3,
    "memory_bytes": 700_000_000,
    "ready_timeout_s": 600,
    "arguments": ["--context=4096", "--slots=2"],
}
KSERVE_READER = {
    "name": "kserve-reader",
    "model": "kserved",
    "knowledge": ["documents"],
    "temperature": 0,
    "max_tokens": 60,
    "unsupported": "mark",
}


def settings(documents: Path, images: Images, mirror: Path) -> dict[str, object]:
    """The settings of the local stack's tests, on pools of the cluster."""
    local = settings_for_tests(documents)
    models = [{**model, "pool": "models", "cpus": 0.5} for model in local["models"] if isinstance(model, dict)]
    return {name: local[name] for name in ("aliases", "knowledge")} | {
        "target": "kubeconfig",
        "assistants": [*local["assistants"], KSERVE_READER],
        "models": [
            *models,
            {"name": "ticker", "engine": "remote", "url": f"http://ticker.{around.NAMESPACE}.svc:8080/v1"},
            KSERVED,
        ],
        "kubernetes": {
            "kubeconfig": str(KUBECONFIG),
            "namespace": NAMESPACE,
            # This host asks the Service through a node, whose address pods then see.
            "service_type": "NodePort",
            "source_ranges": [network.SUBNET],
        },
        "image": images.serving.settings(),
        "pools": [
            {"name": "serving", "replicas": 2, "cpus": 1, "reserved_cpus": 0.2, "memory": "2Gi"},
            {"name": "models", "replicas": 1, "cpus": 1, "reserved_cpus": 0.2, "memory": "2Gi"},
        ],
        "gateway": {"replicas": 2, "cpus": 0.3},
        "retrieval": {"replicas": 2, "cpus": 0.2},
        "database": {"kind": "url", "url": around.DATABASE_URL},
        "data": {"storage": "1Gi"},
        "addons": {
            "kuberay": "install",
            "monitoring": {"existing": "that of the tests", "namespace": around.MONITORING},
            "kserve": {"existing": "that of the tests"},
        },
        "mirror": {"charts": str(mirror)},
    }


@contextmanager
def cluster_stack(documents: Path, mirror: Path, more: dict[str, object]) -> Iterator[ClusterStack]:
    """The stack with further settings, up; at the end it is destroyed with what is around it, and no object is left."""
    images = load_images()
    pack_kuberay(mirror)
    stack = ClusterStack(NAME)
    password = secrets.token_urlsafe(24)
    with (
        kinds(),
        around.services(images, password),
        kserve(NAMESPACE),
        _up(stack, settings(documents, images, mirror) | more, password) as up,
        prometheus(images.prometheus, NAMESPACE) as url,
    ):
        yield replace(up, prometheus_url=url)


@contextmanager
def standing(name: str) -> Iterator[ClusterStack]:
    """A stack that is up and stays up, with a Prometheus for the tests."""
    with prometheus(load_images().prometheus, NAMESPACE) as url:
        yield replace(ClusterStack(name).outputs(), prometheus_url=url)


@contextmanager
def _up(stack: ClusterStack, settings: dict[str, object], password: str) -> Iterator[ClusterStack]:
    stack.configure(**settings)
    before = objects()
    try:
        if stack.layout.state.exists():
            # A killed run left it, with the state of a stack whose cluster is gone.
            stack.run("pulumi", "stack", "rm", "--force", "--yes", "--preserve-config")
        stack.run("pulumi", "config", "set", "--secret", "--path", "headrace:database.password", password)
        printed = stack.run("up", "--yes")
        yield replace(stack.outputs(), printed=printed)
    finally:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(end_ray)
            stack.run("purge", "--destroy", stack.name)
        stack.file.unlink(missing_ok=True)
    assert last(lambda: _left(before), lambda left: not left) == set(), "purging the stack left objects behind"


def end_ray(selector: str = "ray.io/cluster") -> None:
    """Kills what runs in Ray's pods as soon as all of them are ending, and waits until it has ended.

    Left alone, workers wait for a head that is gone for a minute and a half (see the chart's drain.sh and its tests),
    also where the objects of their pods are deleted by force, and Ray's agents keep processors busy asking for it.
    """

    def pods() -> list[dict[str, Any]]:
        return list(json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", f"-l={selector}", "-o=json"))["items"])

    def running() -> list[tuple[str, str]]:
        """Ray's containers, with their pods."""
        return [
            (pod["metadata"]["name"], container["name"])
            for pod in pods()
            for container in pod["status"].get("containerStatuses", ())
            if container["name"].startswith("ray-") and "running" in container["state"]
        ]

    def ended() -> bool:
        left = running()
        for pod, container in left:
            with suppress(ToolError):  # it has ended meanwhile
                kubectl(f"-n={NAMESPACE}", "exec", pod, f"-c={container}", "--", "bash", "-c", "kill -KILL -1")
        return not left

    def ending() -> bool:
        return all("deletionTimestamp" in pod["metadata"] for pod in pods())

    eventually(ending, "all of Ray's pods are ending", 300, every=2)
    eventually(ended, "nothing of Ray runs in them", 300, every=2)


def _left(before: set[str]) -> set[str]:
    try:
        return objects() - before
    except ToolError as e:  # a kind is listed for a moment after its definition is gone
        return {str(e)}
