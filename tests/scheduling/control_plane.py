"""Kubernetes without machines: etcd, an API server, kube-scheduler and KubeRay's operator as processes of this host.

Its nodes are objects that a test writes. Nothing runs on them: what can be seen is which pods exist, and where the
scheduler puts them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import yaml

from infra.programs import KUBERNETES, RAY_OPERATOR
from infra.versions import KUBERAY_CRDS
from tests.rendering.kuberay_chart import KUBERAY_MODULE, go_module_folder
from tests.servers.certificate import certificate
from tests.servers.process import Server
from tools.binaries.find import obtain

Object = dict[str, Any]

TOKEN = "headrace-tests"
READY_S = 300.0
PAUSE_S = 0.1
PODS = "/api/v1/namespaces/default/pods"

KUBERAY = "kuberay"
"""Namespace of what KubeRay makes."""

RAY = f"/apis/ray.io/v1/namespaces/{KUBERAY}"

ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""In place of KubeRay's schemas, which take an API server seconds. What they set by default, objects must have."""

CLAIMS = ("headrace-data", "headrace-gcs", "backups")
"""Volume claims of the chart's pods. Their volumes are there, and can be mounted on every node."""

ADMISSION = ("ServiceAccount", "TaintNodesByCondition")
"""Admission plugins that need controllers: one for the accounts of pods, one that finds that a node is ready."""


class _Process(Server):
    def start(self, *command: str | Path, **environment: str) -> None:
        self._start([str(part) for part in command], env={**os.environ, **environment})

    def port(self) -> int:
        return self._port()


class ControlPlane:
    """The servers, and requests to the API."""

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._services = 0
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        [kube, operator] = (obtain(kit).files[kit.binaries[0]] for kit in (KUBERNETES, RAY_OPERATOR))
        etcd, api, scheduler, ray = (self._process() for _ in range(4))
        store, peers, port = (process.port() for process in (etcd, etcd, api))
        etcd.start(
            *(kube, "etcd", f"--data-dir={etcd.folder}/data", "--unsafe-no-fsync", "--log-level=error"),
            *(f"--listen-client-urls=http://127.0.0.1:{store}", f"--advertise-client-urls=http://127.0.0.1:{store}"),
            *(f"--listen-peer-urls=http://127.0.0.1:{peers}", f"--initial-cluster=default=http://127.0.0.1:{peers}"),
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
        )
        tls = certificate(api.folder, "127.0.0.1")
        (api.folder / "tokens").write_text(f"{TOKEN},admin,admin,system:masters\n")
        api.start(
            *(kube, "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{store}"),
            *("--bind-address=127.0.0.1", f"--secure-port={port}", "--service-cluster-ip-range=10.0.0.0/16"),
            *(f"--tls-cert-file={tls.file}", f"--tls-private-key-file={tls.key}", f"--cert-dir={api.folder}"),
            *("--authorization-mode=AlwaysAllow", f"--token-auth-file={api.folder}/tokens"),
            *("--service-account-issuer=https://tests.invalid", f"--service-account-key-file={tls.file}"),
            *(f"--service-account-signing-key-file={tls.key}", "--enable-priority-and-fairness=false"),
            f"--disable-admission-plugins={','.join(ADMISSION)}",
        )
        url = f"https://127.0.0.1:{port}"
        self.kubeconfig = kubeconfig = api.folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(_kubeconfig(url, tls.authority)))
        self._client = self._ends.enter_context(
            httpx.Client(
                base_url=url,
                verify=str(tls.authority),
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=READY_S,
                trust_env=False,
            )
        )
        self._until(lambda: self._answers("/readyz"), "the API server is ready", api, etcd)
        scheduler.start(
            *(kube, "kube-scheduler", f"--kubeconfig={kubeconfig}", "--leader-elect=false"),
            *("--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=2000"),
        )
        self._make_crds()
        self._make_claims()
        self.create("/api/v1/namespaces", {"metadata": {"name": KUBERAY}})
        # The chart's account of heads, which KubeRay looks for when it gives one an autoscaler.
        self.create(f"/api/v1/namespaces/{KUBERAY}/serviceaccounts", {"metadata": {"name": "headrace-head"}})
        ray.start(
            *(operator, "--metrics-addr=0", "--health-probe-bind-address=0", "--enable-leader-election=false"),
            *("--qps=1000", "--burst=2000"),
            KUBECONFIG=str(kubeconfig),
        )
        self.processes = {"etcd": etcd, "kube-apiserver": api, "kube-scheduler": scheduler, "KubeRay": ray}

    def _process(self) -> _Process:
        process = _Process()
        self._ends.callback(process.close)
        return process

    def _make_crds(self) -> None:
        folder = go_module_folder(KUBERAY_MODULE) / "config" / "crd" / "bases"
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        names = []
        for file in KUBERAY_CRDS.files:
            crd = yaml.load((folder / file).read_text(), yaml.CSafeLoader)
            for version in crd["spec"]["versions"]:
                version["schema"]["openAPIV3Schema"] = ANYTHING
            names.append(crd["metadata"]["name"])
            self.create(path, crd)
        for name in names:
            plural = name.partition(".")[0]
            self._until(lambda plural=plural: self._answers(f"/apis/ray.io/v1/{plural}"), f"{plural} can be listed")

    def _make_claims(self) -> None:
        for name in CLAIMS:
            size = {"storage": "1Gi"}
            claim = {"namespace": "default", "name": name}
            volume = {"accessModes": ["ReadWriteMany"], "capacity": size, "claimRef": claim, "hostPath": {"path": "/a"}}
            self.create("/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": volume})
            spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": size}, "volumeName": name}
            bound = {"name": name, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
            self.create(
                "/api/v1/namespaces/default/persistentvolumeclaims",
                {"metadata": bound, "spec": {**spec, "storageClassName": ""}},
            )

    def _answers(self, path: str) -> bool:
        try:
            return self._client.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def _until(self, holds: Callable[[], bool], what: str, *processes: _Process) -> None:
        deadline = time.monotonic() + READY_S
        while not holds():
            ended = [process for process in processes if process.process and process.process.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(process.log()[-2000:] for process in ended or processes)
                raise AssertionError(f"it is not so that {what}\n{logs}")
            time.sleep(PAUSE_S)

    def create(self, path: str, *objects: Mapping[str, Any]) -> list[Object]:
        """Creates objects in a collection, in their order."""
        return [self._checked(self._client.post(path, json=one)) for one in objects]

    def update(self, path: str, one: Mapping[str, Any]) -> Object:
        """Replaces an object, or its status."""
        return self._checked(self._client.put(path, json=one))

    def list(self, path: str, **selectors: str) -> list[Object]:
        """The objects of a collection."""
        items: list[Object] = self._checked(self._client.get(path, params=selectors))["items"]
        return items

    def made_by_kuberay(self, service: Mapping[str, Any], number: int) -> list[Object]:
        """The pods that KubeRay makes of a RayService, which it is rid of afterwards. Nobody schedules them here."""
        self._services += 1
        name = f"headrace-{self._services}"
        self.create(f"{RAY}/rayservices", {**service, "metadata": {"namespace": KUBERAY, "name": name}})
        found: list[Object] = []

        def complete() -> bool:
            pods = self.list(f"/api/v1/namespaces/{KUBERAY}/pods", labelSelector="ray.io/node-type")
            found[:] = [pod for pod in pods if pod["metadata"]["labels"]["ray.io/cluster"].startswith(f"{name}-")]
            return len(found) >= number

        self._until(complete, f"KubeRay has made {number} pods", *self.processes.values())
        self.delete(f"{RAY}/rayservices", f"{RAY}/rayclusters")
        self.delete(*(f"/api/v1/namespaces/{KUBERAY}/{kind}" for kind in ("pods", "services")))
        return found

    def unscheduled(self) -> list[Object]:
        """The pods that fit no node, as soon as the scheduler has tried all that have none."""
        found: list[Object] = []

        def tried() -> bool:
            found[:] = self.list(PODS, fieldSelector="spec.nodeName=")
            return all(_refused(pod) for pod in found)

        self._until(tried, "the scheduler has tried all pods", *self.processes.values())
        return found

    def delete(self, *paths: str) -> None:
        """Deletes objects or collections at once: no kubelet ends pods first."""
        for path in paths:
            answer = self._client.delete(path, params={"gracePeriodSeconds": "0", "propagationPolicy": "Background"})
            if answer.status_code != 404:
                self._checked(answer)

    def _checked(self, answer: httpx.Response) -> Object:
        assert answer.is_success, f"{answer.request.method} {answer.request.url.path}: {answer.text[:2000]}"
        found: Object = answer.json()
        return found

    def close(self) -> None:
        """Ends the servers; a second call does nothing."""
        self._ends.close()


def _refused(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(one["type"] == "PodScheduled" and one["status"] == "False" for one in conditions)


def _kubeconfig(url: str, authority: Path) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
