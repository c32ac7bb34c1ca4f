"""What a control plane is asked, and when there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.onprem import storage
from infra.onprem.cluster import ControlPlane, connect_control_plane, wait_until_done
from infra.onprem.etcd import EtcdMember, members, remove
from infra.onprem.ssh import AccessRefused, CommandFailed, RemoteHost, SshAddress
from infra.providers.kubernetes_node import KubernetesNodeProvider
from infra.resources.problem import Problem
from infra.resources.resource import Task

MEMBERS = {
    "members": [
        {"ID": "11", "name": "cp1", "peerURLs": ["https://192.168.7.11:2380"]},
        {"ID": "12", "peerURLs": ["https://192.168.7.12:2380"], "isLearner": True},
    ]
}


class Fake:
    """A host that records what it is asked, and answers what it was told to."""

    name = "cp1"

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.task = Task(lambda words: None)
        self.asked: list[tuple[str, ...]] = []
        self.inputs: list[str] = []
        self._answers = answers or {}

    def output(self, script: str, *arguments: str, input: str | None = None, **options: Any) -> str:
        self.asked.append(arguments)
        self.inputs.append(input or "")
        return self._answers.get(" ".join(arguments[:2]), "")


def plane(**answers: Any) -> tuple[ControlPlane, Fake]:
    fake = Fake({name.replace("_", " "): json.dumps(answer) for name, answer in answers.items()})
    return ControlPlane(fake), fake  # type: ignore[arg-type]


class Stopped(Exception):
    """Ends a wait that would go on."""


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "untolerated taint disk-pressure"}]},
            "deployment/coredns: coredns-1: it cannot be scheduled: untolerated taint disk-pressure",
        ),
        (
            {
                "containerStatuses": [{"name": "coredns", "state": {"running": {}}}],
                "conditions": [{"type": "Ready", "status": "False"}],
            },
            "deployment/coredns: coredns-1 is running but not ready; last line of its log: cannot reach 10.96.0.1",
        ),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, "deployment/coredns: exceeded its progress deadline"),
    ],
)
def test_waiting_for_a_workload_reports_the_reason(status: dict[str, Any], words: str) -> None:
    class Waits(Fake):
        def output(self, script: str, *arguments: str, input: str | None = None, **options: Any) -> str:
            if arguments[0] == "rollout":
                raise CommandFailed("kubectl rollout status: error\nexceeded its progress deadline")
            if arguments[0] == "logs":
                return "cannot reach 10.96.0.1\n"
            return super().output(script, *arguments, input=input, **options)

    def say(said: str) -> None:
        if said.startswith("deployment/"):
            raise Stopped(said)

    fake = Waits(
        {
            "get deployment/coredns": json.dumps({"spec": {"selector": {"matchLabels": {"k8s-app": "kube-dns"}}}}),
            "get pods": json.dumps({"items": [{"metadata": {"name": "coredns-1"}, "status": status}]}),
        }
    )
    fake.task = Task(say)
    with pytest.raises(Stopped) as stopped:
        ControlPlane(fake).wait_rollout("deployment/coredns")  # type: ignore[arg-type]
    assert str(stopped.value) == words


def test_node_removal_is_retried() -> None:
    class Moves(Fake):
        resets = 2

        def output(self, script: str, *arguments: str, input: str | None = None, **options: Any) -> str:
            answer = super().output(script, *arguments, input=input, **options)
            if arguments[0] == "delete" and self.resets:
                self.resets -= 1
                raise CommandFailed("kubectl delete node failed with status 1\n    connection reset by peer")
            return answer

    said: list[str] = []
    fake = Moves({"list": json.dumps(MEMBERS)})
    fake.task = Task(said.append)
    ControlPlane(fake).remove_node("cp1", "192.168.7.11")  # type: ignore[arg-type]
    assert fake.asked.count(("remove",)) == 3
    assert fake.asked[-1][:3] == ("delete", "node", "cp1")
    assert said == ["the cluster without cp1: connection reset by peer"]


def test_only_labels_set_by_headrace_are_removed() -> None:
    cluster, fake = plane()
    cluster.label("w1", {"a": "1", "b": ""}, {"a": "0", "old": "x"})
    assert fake.asked == [("label", "node", "w1", "--overwrite", "a=1", "b=", "old-")]
    cluster.label("w1", {}, {})
    assert len(fake.asked) == 1


def test_only_taints_set_by_headrace_are_removed() -> None:
    there = [{"key": "old", "effect": "NoSchedule"}, {"key": "theirs", "effect": "NoExecute"}]
    cluster, fake = plane(get_node={"spec": {"taints": there}})
    before = [
        {"key": "old", "value": "x", "effect": "NoSchedule"},
        {"key": "gone", "value": "", "effect": "NoSchedule"},
    ]
    cluster.taint("w1", [{"key": "a", "value": "1", "effect": "NoExecute"}], before)
    assert fake.asked[-1] == ("taint", "node", "w1", "--overwrite", "a=1:NoExecute", "old:NoSchedule-")


def test_members_of_etcd_are_found_by_name_and_those_that_never_started_by_address() -> None:
    fake = Fake({"list": json.dumps(MEMBERS)})
    assert members(fake)[1] == EtcdMember("12", "", "https://192.168.7.12:2380")  # type: ignore[arg-type]
    for name, address, id in (("cp1", "192.168.7.99", "11"), ("cp2", "192.168.7.12", "12")):
        remove(fake, name, address)  # type: ignore[arg-type]
        assert json.loads(fake.inputs[-1]) == {"ID": id}
    count = len(fake.asked)
    remove(fake, "cp3", "192.168.7.1")  # type: ignore[arg-type]
    assert fake.asked[count:] == [("list",)]


def test_rejected_logins_are_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(host: RemoteHost, patience_s: float = 0) -> None:
        raise AccessRefused("cp1: another key")

    monkeypatch.setattr(RemoteHost, "connect", refuse)
    monkeypatch.setattr(Task, "pause", lambda task, seconds: pytest.fail("it waits"))
    with (
        pytest.raises(Problem, match="another key"),
        connect_control_plane([SshAddress("cp1", "192.0.2.1")], Task(print)),
    ):
        pass


def test_waiting_reports_progress_and_times_out() -> None:
    said: list[str] = []
    words = iter(["one", "one", "two", ""])
    wait_until_done(Task(said.append), lambda: next(words), "it", 10)
    assert said == ["it: one", "it: two"]

    def down() -> str:
        raise CommandFailed("cp1: kubectl failed\n    connection refused")

    with pytest.raises(Problem, match="it is not ready after 0 s: connection refused"):
        wait_until_done(Task(said.append), down, "it", 0)


def test_a_pod_with_a_volume_stays_on_its_node() -> None:
    wanted = {"path": "/srv", "count": 2, "size": "5Gi"}
    first, second = json.loads(storage.volumes("w1", wanted))["items"]
    assert [first["metadata"]["name"], second["metadata"]["name"]] == ["headrace-local-w1-00", "headrace-local-w1-01"]
    terms = first["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["w1"]}]}]
    assert second["spec"]["local"]["path"] == "/srv/01"
    assert first["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


def test_cluster_settings_do_not_change_nodes() -> None:
    old = {"name": "w1", "labels": {}, "configuration": {"v": 1}, "control_planes": [1], "pod_range": "a", "role": "w"}
    same = KubernetesNodeProvider().diff(old, {**old, "configuration": {"v": 2}, "pod_range": "b"})
    assert same.changed == ()
    assert KubernetesNodeProvider().diff(old, {**old, "control_planes": [2]}).changed == ("control_planes",)
    assert KubernetesNodeProvider().diff(old, {**old, "role": "x"}).replaced == ("role",)
