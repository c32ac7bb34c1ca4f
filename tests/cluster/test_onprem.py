"""Machines over SSH become a cluster by one `pulumi up`, and are again what they were after `destroy`: the campaigns.

What `test_made.py` asks of the test cluster is asked here of one that has the application by the same `up`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.onprem import etcd
from infra.onprem.preflight import mistakes, ssh_address
from infra.onprem.ssh import RemoteHost
from infra.onprem_config import OnPrem
from infra.onprem_config import mistakes as refused
from infra.programs import KUBERNETES_BEFORE
from infra.resources.resource import Task
from tests.cluster import onprem
from tests.cluster.cuts import KINDS, Cut, kill, seeded, up_but
from tests.cluster.images import Image
from tests.cluster.listing import differences, listings
from tests.cluster.onprem import VIRTUAL_IP, Whole, running
from tests.rendering.kuberay_chart import pack_kuberay
from tests.servers.postgres import Postgres
from tests.wait import eventually
from tools.binaries import find
from tools.cluster import bundle as bundles
from tools.cluster.image_loader import load_images
from tools.cluster.images import TOOLS
from tools.cluster.onprem import Stack, host
from tools.images.build import build
from tools.machines import network
from tools.machines.host import check as check_host
from tools.machines.machine import Machine

pytestmark = pytest.mark.soak

WORKERS = ("op-w1", "op-w2")
PLANES = ("op-cp1", "op-cp2", "op-cp3")
STORAGE: dict[str, Any] = {"kind": "local", "volumes": 4, "size": "2Gi", "path": "/var/lib/headrace-volumes"}
ENDED = ("Succeeded", "Failed")
MOMENTS = (
    *((name, f"{name}: {words}") for name in ("op-cp1", "op-w1") for words in ("Kubernetes 1", r"\d+ images")),
    ("op-cp1", "op-cp1: kubeadm init"),
    ("op-cp1", "waiting for daemonset/kube-router"),
    ("op-w1", "op-w1: kubeadm join"),
)
"""Of an `up` that makes a cluster."""
COMES_BACK = tuple(("op-w2", f"op-w2: {words}") for words in ("Kubernetes 1", r"\d+ images", "kubeadm join"))
ANOTHER_ARGUMENT = (("op-cp1", "writing kubeadm's configuration"), ("op-cp1", "op-cp1: restarting the API server"))
CUTS = tuple(Cut(kind, *moment) for kind in KINDS for moment in MOMENTS)


FIRST, AT_CHANGE, AT_RETURN = seeded(MOMENTS, ANOTHER_ARGUMENT, COMES_BACK)


@dataclass
class Site:
    """Machines, their initial listings, and their stack."""

    machines: dict[str, Machine]
    before: dict[str, frozenset[str]]
    stack: Stack
    bundle: Path
    printed: str = ""

    def hosts(self, *names: str) -> list[dict[str, Any]]:
        made = []
        for name in names:
            more: dict[str, Any] = {"role": "control_plane"} if name in PLANES else {"pool": "workers"}
            if name == "op-w2":
                more = {"gpus": 1, "accelerator": "l4", "pool": "gpus", "labels": {"rack": "7"}}
            made.append(host(self.machines[name], **more))
        return made

    def wants(self, *names: str, **more: Any) -> OnPrem:
        # The operator owns the driver: no machine of the tests has one.
        self.stack.configure(onprem.wanted(*self.hosts(*names), bundle=str(self.bundle), driver="operator", **more))
        return OnPrem.model_validate(self.stack.settings)

    def up_but(self, cut: Cut) -> str:
        """Returns what it said."""
        return up_but(self.stack, cut, self.machines[cut.machine])

    def node(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.stack.kubectl("get", "node", name, "-o=json")))

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Status by name."""
        nodes = json.loads(self.stack.kubectl("get", "nodes", "-o=json"))["items"]
        return {node["metadata"]["name"]: node["status"] for node in nodes}

    def ready(self) -> dict[str, bool]:
        return {
            name: any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
            for name, status in self.nodes().items()
        }

    def serves(self, since: str) -> bool:
        """Returns whether all pods of the application were started after `since` and are ready."""
        pods = json.loads(self.stack.kubectl("get", "pods", "--namespace=headrace", "-o=json"))["items"]
        # One whose first containers run once more is pending again, after a restart of its machine.
        there = [
            c for p in pods if p["status"]["phase"] not in ENDED for c in p["status"].get("containerStatuses", [{}])
        ]
        began = [c["state"].get("running", {}).get("startedAt", "") for c in there if c.get("ready")]
        return len(there) == len(began) > 0 and min(began) > since

    def versions(self) -> dict[str, str]:
        """Of the kubelets."""
        return {name: status["nodeInfo"]["kubeletVersion"] for name, status in self.nodes().items()}


@pytest.fixture(scope="module")
def bundle() -> Path:
    check_host()
    return bundles.cached_bundle()


@contextmanager
def site(
    bundle: Path, folder: Path, *names: str, stack: Callable[[Path], Stack] = Stack, images: Sequence[Path] = ()
) -> Iterator[Site]:
    """`images`: archives that the first worker holds beforehand, as one that has pulled from a registry does."""
    with running(*names) as machines:
        for archive in images:
            load_images([machines["op-w1"]], archive)
        before = listings(machines.values())
        yield Site(machines, before, stack(folder / "stack"), bundle)


@pytest.fixture(scope="module")
def small(bundle: Path, documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A control plane, two workers and the application: the tests below go on where the one before ended."""
    folder = tmp_path_factory.mktemp("small")
    pack_kuberay(folder / "charts")
    serving = build("serving")
    network.up()
    database = Postgres(network.HOST)

    def stack(own: Path) -> Stack:
        said = onprem.application(documents, Image(serving.name, serving.digest), folder / "charts", database)
        return Whole(own, application=said, password=database.password)

    with closing(database), site(bundle, folder, "op-cp1", *WORKERS, stack=stack, images=[serving.archive]) as made:
        settings = made.wants("op-cp1", *WORKERS, storage=STORAGE)
        assert refused(settings) == []
        assert mistakes(settings, onprem.NAME) == []
        try:
            made.printed = made.up_but(FIRST)
            made.printed += made.stack.up()
            yield made
        finally:
            made.stack.destroy()


def test_one_up_makes_a_cluster(small: Site) -> None:
    assert small.ready() == {"op-cp1": True, "op-w1": True, "op-w2": True}
    assert {c["key"] for c in small.node("op-cp1")["spec"]["taints"]} == {"node-role.kubernetes.io/control-plane"}
    labels = small.node("op-w2")["metadata"]["labels"]
    assert (labels["headrace.io/node-pool"], labels["rack"]) == ("gpus", "7")
    assert mistakes(OnPrem.model_validate(small.stack.settings), onprem.NAME) == []


def is_cited(printed: str) -> bool:
    """Returns whether the question that `up` asks was answered with a citation."""
    return bool(re.search(r"^  \[1\] \S+\.md: \S", printed.partition("\n> ")[2], re.MULTILINE))


def test_the_application_answers_with_a_citation(small: Site) -> None:
    assert is_cited(small.printed), small.printed[-3000:]


def test_a_second_up_changes_nothing(small: Site) -> None:
    small.stack.up("--expect-no-changes")


def test_the_state_contains_no_secret_in_plain_text(small: Site) -> None:
    small.stack.kubectl("version")
    kubeconfig = (small.stack.folder / "kubeconfig").read_text()
    key = kubeconfig.split("client-key-data: ")[1].split()[0]
    state = small.stack.state()
    assert "op-cp1" in state
    assert key not in state
    for name in ("op-cp1", *WORKERS):
        small.machines[name].run(
            ["sh", "-c", "! grep -rqE '[a-z0-9]{6}[.][a-z0-9]{16}' /var/log/headrace /run/headrace"]
        )
    secrets = small.stack.kubectl("get", "secrets", "--namespace=kube-system", "-o=name")
    assert "kubeadm-certs" not in secrets
    eventually(
        lambda: "bootstrap-token" not in small.stack.kubectl("get", "secrets", "--namespace=kube-system"), seconds=90
    )


def test_network_policies_are_enforced(small: Site) -> None:
    k = small.stack.kubectl
    small.stack.apply(
        _pod("web", {"app": "web"}, "socat TCP-LISTEN:8080,fork,reuseaddr SYSTEM:'echo HTTP/1.0 200 OK; echo; echo up'")
    )
    small.stack.apply(_pod("friend", {"app": "friend"}), _pod("stranger", {"app": "stranger"}))
    k("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    address = k("get", "pod", "web", "-o=jsonpath={.status.podIP}")

    def gets(name: str, within_s: int = 2) -> bool:
        return "up" in k("exec", name, "--", "curl", f"-sm{within_s}", f"http://{address}:8080", check=False)

    eventually(lambda: gets("friend") and gets("stranger"))
    assert "kubernetes.default" in k("exec", "friend", "--", "getent", "hosts", "kubernetes.default.svc.cluster.local")
    small.stack.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "web"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
            },
        },
    )
    eventually(lambda: not any(gets("stranger") for _ in range(3)))
    assert gets("friend", within_s=30)
    k("delete", "networkpolicy", "web")
    eventually(lambda: gets("stranger"))
    k("delete", "pod", "--all", "--wait")


def test_a_pod_that_needs_a_gpu_runs_on_a_node_with_one(small: Site) -> None:
    """No machine has a GPU: the node reports two, as a device plugin would make it do."""
    k = small.stack.kubectl
    assert small.node("op-w2")["spec"]["taints"] == [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    ]
    patch = json.dumps({"status": {"capacity": {"nvidia.com/gpu": "2"}}})
    k("patch", "node", "op-w2", "--subresource=status", "--type=merge", f"--patch={patch}")
    pod = _pod("gpu", {})
    pod["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    pod["spec"]["nodeSelector"] = {"rack": "7"}
    pod["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    small.stack.apply(pod, _pod("plain", {}))
    k("wait", "--for=condition=Ready", "pod", "gpu", "plain", "--timeout=60s")
    where = {name: k("get", "pod", name, "-o=jsonpath={.spec.nodeName}") for name in ("gpu", "plain")}
    assert where == {"gpu": "op-w2", "plain": "op-w1"}
    k("delete", "pod", "gpu", "plain", "--wait")


def test_a_volume_claim_gets_a_volume_of_the_node(small: Site) -> None:
    k = small.stack.kubectl
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    pod = _pod("writer", {}, "echo kept > /data/file; sleep infinity")
    pod["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    small.stack.apply(claim, pod)
    k("wait", "--for=condition=Ready", "pod", "writer", "--timeout=60s")
    number = k("get", "pvc", "data", "-o=jsonpath={.spec.volumeName}").rpartition("-")[2]
    kept = f"{STORAGE['path']}/{number}/file"
    eventually(lambda: small.machines["op-w1"].run(["cat", kept], check=False).stdout == "kept\n")
    k("delete", "pod", "writer", "--wait")
    k("delete", "pvc", "data", "--wait")
    small.machines["op-w1"].run(["rm", kept])


def test_a_changed_argument_of_the_api_server_applies(small: Site) -> None:
    small.wants("op-cp1", *WORKERS, storage=STORAGE, api_server_args={"event-ttl": "2h0m0s"})
    small.up_but(AT_CHANGE)
    small.stack.up()
    assert "--event-ttl=2h0m0s" in small.machines["op-cp1"].run(["pgrep", "-ax", "kube-apiserver"]).stdout


def test_a_worker_is_removed_and_added_again(small: Site) -> None:
    kept = {k: v for k, v in small.stack.settings.items() if k in ("storage", "api_server_args")}
    small.wants("op-cp1", "op-w1", **kept)
    small.stack.up()
    assert small.ready().keys() == {"op-cp1", "op-w1"}
    assert differences(small.machines["op-w2"], small.before) == ([], [])
    small.wants("op-cp1", *WORKERS, **kept)
    small.up_but(AT_RETURN)
    small.stack.up()
    assert small.ready() == {"op-cp1": True, "op-w1": True, "op-w2": True}


def test_a_restarted_machine_rejoins_the_cluster(small: Site) -> None:
    """With the application: all of it is on this one.

    In about one of four runs Ray's control process and a raylet are told to end at such a moment that Serve's
    controller is stored as alive on a dead node; then the proxy has it killed (docs/decisions/0005-control-state.md).
    """
    small.machines["op-w1"].down()
    since = datetime.now(UTC).isoformat()
    small.machines["op-w1"].up()
    eventually(lambda: small.ready()["op-w1"], seconds=120)
    eventually(lambda: small.serves(since), seconds=600)
    assert is_cited(small.stack.up("--expect-no-changes"))


def test_destroy_restores_the_machines(small: Site) -> None:
    """Except for data that pods wrote into volumes."""
    small.stack.destroy()
    assert small.machines["op-w1"].run(["find", STORAGE["path"], "-name", "collections"]).stdout
    small.machines["op-w1"].run(["rm", "-r", STORAGE["path"]])
    for name in small.machines:
        assert differences(small.machines[name], small.before) == ([], []), name


def _pod(name: str, labels: dict[str, str], script: str = "sleep infinity") -> dict[str, Any]:
    container = {"name": "it", "image": TOOLS, "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_an_interrupted_up_is_resumed(bundle: Path, tmp_path: Path, cut: Cut) -> None:
    with site(bundle, tmp_path, "op-cp1", "op-w1") as made:
        made.wants("op-cp1", "op-w1")
        made.up_but(cut)
        made.stack.up()
        assert made.ready() == {"op-cp1": True, "op-w1": True}
        made.stack.up("--refresh", "--expect-no-changes")
        made.stack.destroy()
        for each in made.machines:
            assert differences(made.machines[each], made.before) == ([], []), each


def test_three_control_planes_survive_the_loss_of_one(tmp_path: Path) -> None:
    names = (*PLANES, "op-w1")
    bundle = bundles.make_bundle(tmp_path / "bundle", tmp_path, "keepalived")
    with site(bundle, tmp_path, *names) as made:
        made.wants(*names, virtual_ip=VIRTUAL_IP)
        made.stack.up()
        assert made.ready() == dict.fromkeys(names, True)
        made.stack.up("--expect-no-changes")
        kill(made.machines["op-cp1"])
        eventually(lambda: bool(made.stack.kubectl("get", "--raw=/readyz", check=False)), seconds=60)
        made.stack.apply(_pod("after", {}))
        made.stack.kubectl("wait", "--for=condition=Ready", "pod", "after", "--timeout=90s")
        eventually(lambda: not made.ready()["op-cp1"], seconds=120)
        made.machines["op-cp1"].up()
        eventually(lambda: all(made.ready().values()), seconds=180)
        made.stack.destroy()
        for each in made.machines:
            assert differences(made.machines[each], made.before) == ([], []), each


def test_a_control_plane_that_died_is_replaced(tmp_path: Path) -> None:
    """The dead one never answers again: its node and its etcd member are removed, and another machine replaces it."""
    bundle = bundles.make_bundle(tmp_path / "bundle", tmp_path, "keepalived")
    with site(bundle, tmp_path, *PLANES, "op-w2") as made:
        made.wants(*PLANES, virtual_ip=VIRTUAL_IP)
        made.stack.up()
        kill(made.machines["op-cp2"])
        planes = [host(made.machines[name], role="control_plane") for name in ("op-cp1", "op-cp3", "op-w2")]
        made.stack.configure(onprem.wanted(*planes, bundle=str(bundle), virtual_ip=VIRTUAL_IP))
        said = made.stack.up()
        assert "op-cp2 is removed from the cluster" in said
        assert made.ready() == {"op-cp1": True, "op-cp3": True, "op-w2": True}
        settings = OnPrem.model_validate(made.stack.settings)
        with RemoteHost(ssh_address(settings.hosts[0], settings), Task(print)) as first:
            assert {member.name for member in etcd.members(first)} == {"op-cp1", "op-cp3", "op-w2"}
        made.stack.up("--expect-no-changes")
        made.stack.destroy()
        for name in ("op-cp1", "op-cp3", "op-w2"):
            assert differences(made.machines[name], made.before) == ([], []), name


def test_kubernetes_is_upgraded_by_one_minor_version(bundle: Path, tmp_path: Path) -> None:
    """Kubernetes of the previous minor version is built, which takes minutes."""
    before = bundles.cached_bundle(KUBERNETES_BEFORE)
    with site(before, tmp_path, "op-cp1", *WORKERS) as made:
        names = ("op-cp1", *WORKERS)
        old = find.obtain(KUBERNETES_BEFORE).version
        made.wants(*names, kubernetes_version=old)
        made.stack.up()
        assert made.versions() == dict.fromkeys(names, f"v{old}")
        made.bundle = bundle
        made.wants(*names)
        made.stack.up()
        assert made.versions() == dict.fromkeys(names, f"v{onprem.version()}")
        assert made.ready() == dict.fromkeys(names, True)
        made.stack.apply(_pod("after", {}))
        made.stack.kubectl("wait", "--for=condition=Ready", "pod", "after", "--timeout=90s")
        made.stack.up("--refresh", "--expect-no-changes")
        made.stack.destroy()
        for each in made.machines:
            assert differences(made.machines[each], made.before) == ([], []), each
