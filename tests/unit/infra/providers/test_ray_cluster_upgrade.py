"""An upgrade in place ends the Ray cluster of an older specification, and waits for the next one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infra.providers import ray_cluster_upgrade
from infra.providers.ray_cluster_upgrade import REVISION, RayClusterUpgradeProvider
from infra.resources.problem import Problem
from infra.resources.resource import Task
from tests.replace import replace

INPUTS = {"namespace": "ns", "name": "headrace", "timeout_s": 600, "revision": "r"}


class Cluster:
    """KubeRay, as far as the API server shows it: it sees changes late, and makes a cluster where there is none."""

    def __init__(self, wanted: str, there: str = "", late: int = 0) -> None:
        self.wanted = wanted
        self.clusters = {"old": there} if there else {}
        self.active = "old" if there else ""
        self.late = late
        self.pods = ["head", "worker"] if there else []
        self.deleted: list[str] = []
        self.never = False

    def get(self, path: str) -> dict[str, Any] | None:
        kind, name = path.split("/")[-2:]
        assert path.startswith("/apis/ray.io/v1/namespaces/ns/")
        if kind == "rayclusters":
            return {"metadata": {"annotations": {REVISION: self.clusters[name]}}} if name in self.clusters else None
        self.late -= 1
        if self.deleted and not self.never and not self.pods:
            self.active = "new"
        ready = "True" if self.active == "new" or not self.deleted else "False"
        return {
            "metadata": {"generation": 2, "annotations": {REVISION: self.wanted}},
            "status": {
                "observedGeneration": 1 if self.late >= 0 else 2,
                "activeServiceStatus": {"rayClusterName": self.active},
                "conditions": [{"type": "Ready", "status": ready}],
            },
        }

    def items(self, path: str) -> list[object]:
        assert path.startswith("/api/v1/namespaces/ns/pods?labelSelector=ray.io%2Fcluster%3Dold")
        return [self.pods.pop()] if self.pods else []

    def delete(self, path: str) -> None:
        assert self.late < 0, "KubeRay would start a cluster of the older specification"
        self.deleted.append(path)


def upgrade(kuberay: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    @contextmanager
    def api(values: dict[str, Any]) -> Iterator[Cluster]:
        yield kuberay

    said: list[str] = []
    monkeypatch.setattr(ray_cluster_upgrade, "cluster_api", api)
    monkeypatch.setattr(ray_cluster_upgrade, "PAUSE_S", 0)
    RayClusterUpgradeProvider().create(INPUTS, Task(said.append))
    return said


def test_a_cluster_of_another_specification_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    kuberay = Cluster("v2", there="v1", late=2)
    said = upgrade(kuberay, monkeypatch)
    assert kuberay.deleted == ["/apis/ray.io/v1/namespaces/ns/rayclusters/old"]
    assert said == [
        "ending Ray cluster old: running streams may finish, and nothing is served meanwhile",
        "waiting for 1 pods of old to end",
    ]
    assert kuberay.active == "new"


def test_after_an_interruption_the_next_update_waits_for_the_new_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    kuberay = Cluster("v2", there="v1")
    kuberay.clusters, kuberay.deleted = {}, ["by the update that was interrupted"]
    assert upgrade(kuberay, monkeypatch) == ["waiting for 1 pods of old to end"]
    assert kuberay.active == "new"
    assert kuberay.deleted == ["by the update that was interrupted"]


@pytest.mark.parametrize("kuberay", [Cluster("v1", there="v1"), Cluster("v1")])
def test_a_cluster_that_is_as_wanted_stays(kuberay: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert upgrade(kuberay, monkeypatch) == []
    assert kuberay.deleted == []


def test_a_cluster_that_does_not_come_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    kuberay = Cluster("v2", there="v1")
    kuberay.never, now = True, [0.0]
    replace(monkeypatch, ray_cluster_upgrade, time, monotonic=lambda: now.append(now[-1] + 250) or now[-1])
    with pytest.raises(Problem, match="no new Ray cluster serves after 600 s: waiting for the new Ray cluster"):
        upgrade(kuberay, monkeypatch)
    kuberay = Cluster("v2", there="v1", late=100)
    with pytest.raises(Problem, match="KubeRay has not seen the change of RayService headrace"):
        upgrade(kuberay, monkeypatch)


def test_a_refresh_and_a_deletion_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = RayClusterUpgradeProvider()
    assert provider.read("ns/headrace", INPUTS).outputs == INPUTS
    provider.delete("ns/headrace", INPUTS, Task(print))
