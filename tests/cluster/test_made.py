"""The test cluster, which the on-prem target made by one `pulumi up`; test_onprem.py has the campaigns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from infra.nodes.pools import POOL_LABEL
from infra.onprem.storage import CLASS
from infra.programs import KUBERNETES
from tests.cluster.cuts import seeded, up_but
from tests.cluster.listing import differences
from tests.cluster.pods import Kubectl, pod, start
from tests.wait import eventually
from tools.cluster import cluster as life
from tools.cluster.layout import CONTROL_PLANE, LOCAL_VOLUMES, NODES, POOL, WORKERS
from tools.cluster.onprem import Stack

pytestmark = pytest.mark.alone

PLANE_TAINT = "node-role.kubernetes.io/control-plane"
ZONE = "topology.kubernetes.io/zone"

Machines = Mapping[str, frozenset[str]]
"""What each was before; empty where the cluster was up already."""


@pytest.fixture
def made(cluster: Machines) -> Stack:
    return life.onprem_stack()


def nodes(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    return {node["metadata"]["name"]: node for node in json.loads(kubectl("get", "nodes", "-o=json"))["items"]}


def ready(kubectl: Kubectl) -> dict[str, bool]:
    return {
        name: any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        for name, node in nodes(kubectl).items()
    }


def taints(kubectl: Kubectl) -> dict[str, list[str]]:
    return {name: [t["key"] for t in node["spec"].get("taints", ())] for name, node in nodes(kubectl).items()}


def test_one_up_makes_a_cluster(kubectl: Kubectl, made: Stack) -> None:
    assert ready(kubectl) == {machine.name: True for machine in NODES}
    kept = {CONTROL_PLANE.name: [PLANE_TAINT], **{worker.name: [] for worker in WORKERS}}
    # Kubernetes takes the taint of a node that was not ready away a little after it is.
    eventually(lambda: taints(kubectl) == kept, "pods run on the workers alone", 30)
    found = nodes(kubectl)
    labels = {name: node["metadata"]["labels"] for name, node in found.items()}
    assert {name: labels[name].get(POOL_LABEL) for name in labels} == {
        CONTROL_PLANE.name: None,
        **{worker.name: POOL for worker in WORKERS},
    }
    assert len({labels[worker.name][ZONE] for worker in WORKERS}) == 2
    assert KUBERNETES.go is not None
    versions = {node["status"]["nodeInfo"]["kubeletVersion"] for node in found.values()}
    assert versions == {f"v{KUBERNETES.go.version}"}
    assert life.onprem_problems(made.settings) == []


def test_a_second_up_changes_nothing(made: Stack) -> None:
    made.up("--expect-no-changes")


def test_the_state_contains_no_secret_in_plain_text(kubectl: Kubectl, made: Stack) -> None:
    key = made.kubeconfig().split("client-key-data: ")[1].split()[0]
    state = made.state()
    assert CONTROL_PLANE.name in state
    assert key not in state
    for machine in NODES:
        machine.run(["sh", "-c", "! grep -rqE '[a-z0-9]{6}[.][a-z0-9]{16}' /var/log/headrace /run/headrace"])
    secrets = ("get", "secrets", "--namespace=kube-system", "-o=name")
    assert "kubeadm-certs" not in kubectl(*secrets)
    eventually(lambda: "bootstrap-token" not in kubectl(*secrets), "the first token is over", 90)


def test_a_volume_claim_gets_a_volume_of_the_node(kubectl: Kubectl, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "storageClassName": CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    west = WORKERS[0]
    writer = pod("writer", west.name, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    del writer["spec"]["nodeName"]  # the scheduler chooses the volume with the node
    writer["spec"]["nodeSelector"] = {"kubernetes.io/hostname": west.name}
    writer["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    start(kubectl, namespace, claim, writer)
    kubectl(f"-n={namespace}", "exec", "writer", "--", "sh", "-c", "echo kept >/data/file")
    volume = kubectl(f"-n={namespace}", "get", "pvc", "data", "-o=jsonpath={.spec.volumeName}")
    kept = f"{LOCAL_VOLUMES}/{volume.rpartition('-')[2]}/file"
    assert west.run(["cat", kept]).stdout == "kept\n"
    kubectl(f"-n={namespace}", "delete", "pod/writer", "pvc/data", "--wait")
    assert west.run(["cat", kept]).stdout == "kept\n"
    west.run(["rm", kept])
    kubectl("patch", "pv", volume, "--type=merge", '--patch={"spec": {"claimRef": null}}')


def test_a_worker_is_removed_and_added_again(cluster: Machines, kubectl: Kubectl, made: Stack) -> None:
    """The worker is then as before, and interruptions while it is added do no harm."""
    leaver = WORKERS[-1]
    moments = [(leaver.name, f"{leaver.name}: {words}") for words in ("Kubernetes 1", r"\d+ images", "kubeadm join")]
    [cut] = seeded(moments)
    whole = made.settings
    made.configure(whole | {"hosts": [host for host in whole["hosts"] if host["name"] != leaver.name]})
    try:
        made.up()
        assert ready(kubectl).keys() == {machine.name for machine in NODES} - {leaver.name}
        if cluster:
            assert differences(leaver, cluster) == ([], [])
        made.configure(whole)
        up_but(made, cut, leaver)
    finally:
        made.configure(whole)
        made.up()
        life.up()  # leads to its pods, which have other addresses now
    assert ready(kubectl) == {machine.name: True for machine in NODES}
    made.up("--expect-no-changes")
