"""Machines of the tests' own, and the product's stack that makes them a cluster with the application on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.layout import CHECKOUT
from infra.programs import KUBERNETES
from tests.cluster.images import Image
from tests.servers.postgres import Postgres
from tests.stacks.stack import Stack as ProductStack
from tests.stacks.stack import settings_for_tests
from tools.binaries import find
from tools.cluster.layout import IMAGES, IMAGES_INSIDE
from tools.cluster.onprem import Stack
from tools.machines import network
from tools.machines.machine import Machine, Mount, all_machines
from tools.stack.backend import LOCAL
from tools.stack.question import QUESTION

RANGES = {"pod_range": "10.246.0.0/16", "service_range": "10.98.0.0/16"}
NAMES = ("op-cp1", "op-cp2", "op-cp3", "op-w1", "op-w2")
ADDRESSES = dict(zip(NAMES, (f"10.251.0.{n}" for n in (41, 42, 43, 46, 47)), strict=True))
VIRTUAL_IP = "10.251.0.40"
NAME = "test-onprem"
"""Of the product's own stack."""


def version() -> str:
    """Of the Kubernetes that is built here."""
    return find.obtain(KUBERNETES).version


def application(documents: Path, serving: Image, charts: Path, database: Postgres) -> dict[str, Any]:
    """The settings of the local stack's tests, on the machines of pool `workers`."""
    local = settings_for_tests(documents)
    models = [{**model, "pool": "serving", "cpus": 0.5} for model in local["models"]]
    return {name: local[name] for name in ("aliases", "assistants", "knowledge")} | {
        "target": "onprem",
        "models": models,
        "image": serving.settings(),
        "pools": [
            {
                "name": "serving",
                "node_pool": "workers",
                "replicas": 1,
                "cpus": 2,
                "reserved_cpus": 0.4,
                "memory": "3Gi",
            }
        ],
        "gateway": {"replicas": 1, "cpus": 0.3},
        "retrieval": {"replicas": 1, "cpus": 0.2},
        "database": {"kind": "url", "url": database.database()},
        "data": {"access_mode": "ReadWriteOnce", "storage": "1Gi"},
        # The machines have no GPU: one says that it has, as a device plugin would make it say.
        "addons": {"kuberay": "install", "monitoring": "off", "gpu": "off"},
        "mirror": {"charts": str(charts)},
    }


@contextmanager
def running(*names: str) -> Iterator[dict[str, Machine]]:
    """Machines, on; wiped at the end. They see the folder that `load_images` shares."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    made = {name: Machine(name, ADDRESSES[name], (Mount(str(IMAGES), IMAGES_INSIDE, True),)) for name in names}
    try:
        for machine in made.values():
            machine.wipe()
            machine.up()
        for machine in made.values():
            machine.run(["systemctl", "is-system-running", "--wait"], check=False)
        yield made
    finally:
        for machine in made.values():
            machine.wipe()
        if not all_machines():
            network.down()


def wanted(*hosts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The target's settings with these hosts."""
    return {**RANGES, "kubernetes_version": version(), "hosts": list(hosts), **more}


@dataclass
class Whole(Stack):
    """The product's own stack in this checkout: the cluster, and the application on it.

    `application` is what its settings say beside `headrace:onprem`.
    """

    application: dict[str, Any] = field(default_factory=dict)
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.own = ProductStack(NAME)

    def destroy(self) -> str:
        if not self.own.file.exists():
            return ""
        said = self._run([sys.executable, "-m", "tools.stack", "purge", "--destroy", self.own.name])
        self.own.file.unlink()
        return said

    def pulumi(self, *arguments: str) -> str:
        return self.own.run("pulumi", *arguments)

    def state(self) -> str:
        return "".join(file.read_text() for file in LOCAL.rglob(f"{self.own.name}*.json"))

    @property
    def _home(self) -> Path:
        return CHECKOUT

    @property
    def _environment(self) -> dict[str, str]:
        # An `up` that finds the stack running asks a question too.
        return {**os.environ, "STACK": self.own.name, "HEADRACE_QUESTION": QUESTION}

    def _write(self) -> None:
        if self.own.file.exists():
            self.own.change(onprem=self.settings)
            return
        self.own.configure(**self.application, onprem=self.settings)
        self.pulumi("config", "set", "--secret", "--path", "headrace:database.password", self.password)

    def _up(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tools.stack", "up", "--", "--yes", "--skip-preview", *arguments]

    def kubeconfig(self) -> str:
        return self.pulumi("stack", "output", "kubeconfig", "--show-secrets")
