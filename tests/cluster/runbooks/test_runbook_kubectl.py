"""Each kubectl command of the runbooks is one that kubectl knows, and an API server that holds a stack's kinds answers.

The API server is a process of this host: what needs a kubelet (`exec`, `logs`) or a metrics server is only parsed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import runbooks
from tests.pages.runbooks import Command
from tests.rendering import schemas
from tests.rendering.addon_charts import CERT_MANAGER
from tests.rendering.kuberay_chart import go_module_folder
from tests.scheduling.control_plane import ControlPlane
from tests.servers.certificate import certificate
from tools.cluster.kubectl import binaries

KUBECTL = [one for page in runbooks.pages() for one in runbooks.of(page) if one.kind == "kubectl"]
PARSED_ONLY = ("exec", "logs", "debug", "top")
NAMESPACE = "headrace"
CRDS = {
    schemas.GATEWAY_API: (
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    schemas.PROMETHEUS_OPERATOR: ("example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",),
    schemas.CNPG: ("config/crd/bases/postgresql.cnpg.io_clusters.yaml",),
    CERT_MANAGER: (
        *(f"deploy/crds/cert-manager.io_{kind}.yaml" for kind in ("certificaterequests", "certificates")),
        *(f"deploy/crds/cert-manager.io_{kind}.yaml" for kind in ("clusterissuers", "issuers")),
        *(f"deploy/crds/acme.cert-manager.io_{kind}.yaml" for kind in ("challenges", "orders")),
    ),
}
"""Kinds of objects beside those of Kubernetes and KubeRay, by the modules that have them."""
FILLED_IN = {"POD": "one", "NODE": "one", "CLAIM": "headrace-data", "NAME": "one"}
CONTAINER = {"name": "c", "image": "i"}
POD = {"containers": [CONTAINER], "restartPolicy": "Never"}
SIZE = {"storage": "1Gi"}


def an_object(version: str, kind: str, name: str = "one", **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


OBJECTS = (
    an_object("v1", "Node"),
    an_object("v1", "Pod", spec=POD),
    an_object("batch/v1", "Job", spec={"template": {"spec": POD}}),
    an_object(
        "batch/v1",
        "CronJob",
        "headrace-backup",
        spec={"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": POD}}}},
    ),
    an_object("storage.k8s.io/v1", "StorageClass", "grows", provisioner="p", allowVolumeExpansion=True),
    an_object("ray.io/v1", "RayService", NAMESPACE, spec={}),
    an_object("cert-manager.io/v1", "Certificate", spec={"secretName": "s", "issuerRef": {"name": "i"}}),
    an_object("cert-manager.io/v1", "CertificateRequest", spec={"request": "Zg==", "issuerRef": {"name": "i"}}),
)
"""What commands name, after `FILLED_IN`."""
CLAIM = an_object(
    "v1",
    "PersistentVolumeClaim",
    "headrace-data",
    spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": SIZE}, "storageClassName": "grows"},
)
"""A command makes it larger, which cannot be taken back."""


class Operator:
    """Types commands at a shell whose kubectl asks an API server."""

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        self._folder = folder
        program = folder / "kubectl"
        program.write_text(f'#!/bin/sh\nexec {binaries()["kube"]} kubectl "$@"\n')
        program.chmod(0o700)
        path = f"{folder}:{os.environ['PATH']}"
        self._environment = {
            **os.environ,
            "PATH": path,
            "KUBECONFIG": str(control_plane.kubeconfig),
            "HOME": str(folder),
        }
        tls = certificate(folder, "127.0.0.1")
        (folder / "fullchain.pem").write_bytes(tls.file.read_bytes())
        (folder / "privkey.pem").write_bytes(tls.key.read_bytes())
        self.types(f"kubectl create namespace {NAMESPACE}")
        files = [f"-f={go_module_folder(module) / file}" for module, some in CRDS.items() for file in some]
        self.types(f"kubectl apply --server-side {' '.join(files)}")
        self.types(f"kubectl wait --for=condition=Established --timeout=60s {' '.join(files)}")
        self.restore()
        self._apply(CLAIM)
        bound = json.dumps({"status": {"phase": "Bound", "capacity": SIZE}})
        self.types(f"kubectl patch pvc headrace-data -n {NAMESPACE} --subresource=status -p '{bound}'")

    def restore(self) -> None:
        """Creates the objects that are missing."""
        self._apply(*OBJECTS)

    def _apply(self, *objects: dict[str, Any]) -> None:
        (self._folder / "objects.yaml").write_text(yaml.safe_dump_all(objects))
        self.types(f"kubectl apply -n {NAMESPACE} --server-side --force-conflicts -f objects.yaml")

    def types(self, text: str) -> str:
        """Returns what a command prints. Raises `AssertionError` if it fails."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-o", "pipefail", "-c", text],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with closing(ControlPlane()) as servers:
        yield Operator(servers, tmp_path_factory.mktemp("operator"))


def asked(page: str) -> list[Command]:
    """Returns the commands in a page's blocks that an API server alone can answer."""
    of_page = [one for one in KUBECTL if one.page == page and not one.inline]
    return [one for one in of_page if not any(verb(words) in PARSED_ONLY for words in runbooks.kubectl_arguments(one))]


def verb(words: Sequence[str]) -> str:
    return words[2] if words[0] == "-n" else words[0]


@pytest.mark.parametrize("page", [page for page in runbooks.pages() if asked(page)])
def test_an_api_server_answers_the_commands_of_a_runbook(page: str, operator: Operator) -> None:
    operator.restore()
    for command in asked(page):
        text = command.text
        for shown, put in FILLED_IN.items():
            text = re.sub(rf"\b{shown}\b", put, text)
        operator.types(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kubectl get podmonitorz -n headrace", "doesn't have a resource type"),
        ("kubectl get pods -n headrace --field-selector node=NODE", "field label not supported"),
        ("kubectl describe pod -n headrace absent", "not found"),
        ("kubectl get pod -n headrace one -o jsonpath='{.status'", "unclosed action"),
    ],
)
def test_a_command_that_an_api_server_refuses_is_found(text: str, said: str, operator: Operator) -> None:
    with pytest.raises(AssertionError, match=said):
        operator.types(text)


def parse(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Has kubectl read a command and its flags without running it."""
    end = words.index("--") if "--" in words else len(words)
    command = [str(binaries()["kube"]), "kubectl", *words[:end], "--help", *words[end:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", KUBECTL, ids=str)
def test_kubectl_knows_the_command_and_its_flags(command: Command) -> None:
    for words in runbooks.kubectl_arguments(command):
        done = parse(words)
        assert (done.returncode, done.stderr) == (0, "")
        assert words[0] != "exec" or "--" in words, "kubectl exec takes its command after --"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "pods", "--field-selektor", "a=b"], "unknown flag: --field-selektor"),
        (["lock", "node"], 'unknown command "lock"'),
        (["drain", "NODE", "--ignore-daemonset"], "unknown flag: --ignore-daemonset"),
    ],
)
def test_a_command_that_kubectl_does_not_know_is_found(words: Sequence[str], said: str) -> None:
    done = parse(words)
    assert done.returncode == 1
    assert said in done.stderr
