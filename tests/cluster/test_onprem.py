"""Machines over SSH become a cluster by one `pulumi up`, and are again what they were after `destroy`."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.onprem.bundle import sha256
from infra.onprem.inputs import Inputs
from infra.onprem.preflight import mistakes
from infra.onprem_config import BINARIES, OnPrem
from infra.onprem_config import mistakes as refused
from infra.providers.machine import Machine as MachineResource
from infra.providers.problem import Problem
from infra.providers.resource import Task
from tests.cluster import onprem
from tests.cluster.onprem import VIRTUAL_IP, Stack, listing, running, until
from tools.cluster.images import TOOLS
from tools.machines import host, network
from tools.machines.machine import KEY, Machine

WORKERS = ("op-w1", "op-w2")
PLANES = ("op-cp1", "op-cp2", "op-cp3")
SEED = int(os.environ.get("HEADRACE_SEED", "5"))
POINTS = int(os.environ.get("HEADRACE_CUTS", "3"))


@dataclass
class Site:
    """Machines, what they were at first, and their stack."""

    machines: dict[str, Machine]
    before: dict[str, frozenset[str]]
    stack: Stack
    bundle: Path

    def hosts(self, *names: str) -> list[dict[str, Any]]:
        made = []
        for name in names:
            more: dict[str, Any] = {"role": "control_plane"} if name in PLANES else {"pool": "workers"}
            if name == "op-w2":
                more = {"gpus": 1, "accelerator": "l4", "pool": "gpus", "labels": {"rack": "7"}}
            made.append(onprem.host(self.machines[name], **more))
        return made

    def wants(self, *names: str, **more: Any) -> OnPrem:
        # The operator owns the driver: no machine of the tests has one.
        self.stack.wants(*self.hosts(*names), bundle=str(self.bundle), driver="operator", **more)
        return OnPrem.model_validate(self.stack.settings)

    def node(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.stack.kubectl("get", "node", name, "-o=json")))

    def ready(self) -> dict[str, bool]:
        nodes = json.loads(self.stack.kubectl("get", "nodes", "-o=json"))["items"]
        return {
            n["metadata"]["name"]: any(
                c["type"] == "Ready" and c["status"] == "True" for c in n["status"]["conditions"]
            )
            for n in nodes
        }


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    host.check()
    folder = tmp_path_factory.mktemp("bundle")
    return onprem.make_bundle(folder / "bundle", folder)


@contextmanager
def site(bundle: Path, folder: Path, *names: str) -> Iterator[Site]:
    with running(*names) as machines:
        before = {name: listing(machine) for name, machine in machines.items()}
        yield Site(machines, before, Stack(folder / "stack"), bundle)


@pytest.fixture(scope="module")
def small(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A control plane and two workers: the tests below go on where the one before ended."""
    with site(bundle, tmp_path_factory.mktemp("small"), "op-cp1", *WORKERS) as made:
        settings = made.wants("op-cp1", *WORKERS, storage={"kind": "local", "volumes": 1, "size": "1Gi"})
        assert refused(settings) == []
        assert mistakes(settings, "onprem") == []
        made.stack.up()
        yield made


def test_one_up_makes_a_cluster(small: Site) -> None:
    assert small.ready() == {"op-cp1": True, "op-w1": True, "op-w2": True}
    assert {c["key"] for c in small.node("op-cp1")["spec"]["taints"]} == {"node-role.kubernetes.io/control-plane"}
    labels = small.node("op-w2")["metadata"]["labels"]
    assert (labels["headrace.io/node-pool"], labels["rack"]) == ("gpus", "7")
    assert mistakes(OnPrem.model_validate(small.stack.settings), "onprem") == []


def test_a_second_up_changes_nothing(small: Site) -> None:
    small.stack.up("--expect-no-changes")
    small.stack.up("--refresh", "--expect-no-changes")


def test_no_secret_is_in_the_state_in_plain_text(small: Site) -> None:
    small.stack.kubectl("version")
    kubeconfig = (small.stack.folder / "kubeconfig").read_text()
    key = kubeconfig.split("client-key-data: ")[1].split()[0]
    state = "".join(f.read_text() for f in (small.stack.folder / "state").rglob("*.json"))
    assert "op-cp1" in state
    assert key not in state
    for name in ("op-cp1", *WORKERS):
        small.machines[name].run(
            ["sh", "-c", "! grep -rqE '[a-z0-9]{6}[.][a-z0-9]{16}' /var/log/headrace /run/headrace"]
        )
    secrets = small.stack.kubectl("get", "secrets", "--namespace=kube-system", "-o=name")
    assert "kubeadm-certs" not in secrets
    until(lambda: "bootstrap-token" not in small.stack.kubectl("get", "secrets", "--namespace=kube-system"), 90)


def test_network_policies_hold(small: Site) -> None:
    k = small.stack.kubectl
    small.stack.apply(
        _pod("web", {"app": "web"}, "socat TCP-LISTEN:8080,fork,reuseaddr SYSTEM:'echo HTTP/1.0 200 OK; echo; echo up'")
    )
    small.stack.apply(_pod("friend", {"app": "friend"}), _pod("stranger", {"app": "stranger"}))
    k("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    address = k("get", "pod", "web", "-o=jsonpath={.status.podIP}")

    def gets(name: str) -> bool:
        return "up" in k("exec", name, "--", "curl", "-sm2", f"http://{address}:8080", check=False)

    until(lambda: gets("friend") and gets("stranger"))
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
    until(lambda: not gets("stranger"))
    assert gets("friend")
    k("delete", "networkpolicy", "web")
    until(lambda: gets("stranger"))
    k("delete", "pod", "--all", "--wait")


def test_a_pod_with_a_gpu_runs_where_one_is(small: Site) -> None:
    """No machine has one: the node says that it has two, as a device plugin would make it say."""
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


def test_a_claim_gets_a_volume_of_the_node(small: Site) -> None:
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
    kept = "/var/lib/headrace-volumes/00/file"
    until(lambda: small.machines["op-w1"].run(["cat", kept], check=False).stdout == "kept\n")
    k("delete", "pod", "writer", "--wait")
    k("delete", "pvc", "data", "--wait")
    small.machines["op-w1"].run(["rm", kept])


def test_another_argument_of_the_api_server(small: Site) -> None:
    small.wants("op-cp1", *WORKERS, storage=small.stack.settings["storage"], api_server_args={"event-ttl": "2h0m0s"})
    small.stack.up()
    assert "--event-ttl=2h0m0s" in small.machines["op-cp1"].run(["pgrep", "-ax", "kube-apiserver"]).stdout
    small.stack.up("--expect-no-changes")


def test_a_worker_leaves_and_comes_back(small: Site) -> None:
    kept = {"storage": small.stack.settings["storage"], "api_server_args": small.stack.settings["api_server_args"]}
    small.wants("op-cp1", "op-w1", **kept)
    small.stack.up()
    assert small.ready().keys() == {"op-cp1", "op-w1"}
    assert differences(small, "op-w2") == ([], [])
    small.wants("op-cp1", *WORKERS, **kept)
    small.stack.up()
    assert small.ready() == {"op-cp1": True, "op-w1": True, "op-w2": True}


def test_a_machine_that_restarts_comes_back(small: Site) -> None:
    small.machines["op-w1"].down()
    small.machines["op-w1"].up()
    until(lambda: small.ready()["op-w1"], 120)
    small.stack.up("--refresh", "--expect-no-changes")


def test_destroy_leaves_the_machines_as_they_were(small: Site) -> None:
    small.stack.destroy()
    for name in small.machines:
        assert differences(small, name) == ([], []), name


def differences(site: Site, name: str) -> tuple[list[str], list[str]]:
    """What a machine has more than at first, and less."""
    now, before = listing(site.machines[name]), site.before[name]
    return sorted(now - before), sorted(before - now)


def _pod(name: str, labels: dict[str, str], script: str = "sleep infinity") -> dict[str, Any]:
    container = {"name": "it", "image": TOOLS, "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def _kill(machine: Machine) -> None:
    """Power is cut: nothing is written any more."""
    assert machine.pid
    os.kill(machine.pid, signal.SIGKILL)
    until(lambda: machine.pid is None)


CUTS = (
    *((name, f"{name}: {words}") for name in ("op-cp1", "op-w1") for words in ("Kubernetes 1.", "10 images")),
    ("op-cp1", "op-cp1: kubeadm init"),
    ("op-cp1", "waiting for daemonset/kube-router"),
    ("op-w1", "op-w1: kubeadm join"),
)
"""A machine, and the words of progress at which it loses its power."""


@pytest.mark.soak
@pytest.mark.parametrize("cut", random.Random(SEED).sample(CUTS, k=min(POINTS, len(CUTS))), ids="-".join)
def test_an_up_that_was_cut_goes_on(bundle: Path, tmp_path: Path, cut: tuple[str, str]) -> None:
    name, words = cut
    with site(bundle, tmp_path, "op-cp1", "op-w1") as made:
        made.wants("op-cp1", "op-w1")
        machine = made.machines[name]
        happened: list[str] = []

        def power_off() -> None:
            happened.append("cut")
            _kill(machine)
            machine.up()

        made.stack.up_until(lambda line: words in line, power_off)
        assert happened
        made.stack.up()
        assert made.ready() == {"op-cp1": True, "op-w1": True}
        made.stack.up("--expect-no-changes")
        made.stack.destroy()
        for each in made.machines:
            assert differences(made, each) == ([], []), each


@pytest.fixture
def downloads(bundle: Path, tmp_path: Path) -> Iterator[str]:
    """The binaries as their vendor serves them, on this host's address in the machines' network."""
    folder = tmp_path / f"v{onprem.VERSION}/bin/linux/amd64"
    folder.mkdir(parents=True)
    for name in BINARIES:
        (folder / name).symlink_to(bundle / "bin/kube")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with running("op-w2"), ThreadingHTTPServer((network.HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{network.HOST}:{server.server_address[1]}"
        server.shutdown()


def test_a_machine_fetches_what_it_needs_and_is_who_it_should_be(bundle: Path, downloads: str) -> None:
    machine = Machine.named("op-w2")
    before = listing(machine)
    task = Task(lambda words: None)

    def inputs(checksum: str) -> dict[str, Any]:
        given = {"downloads": downloads, "checksums": dict.fromkeys(BINARIES, checksum)}
        hosts = [onprem.host(machine, role="control_plane")]
        settings = OnPrem.model_validate({**onprem.SETTINGS, "hosts": hosts, **given})
        return Inputs(settings, "onprem").machine(settings.hosts[0])

    resource = MachineResource()
    with pytest.raises(Problem, match="checksum did NOT match"):
        resource.create(inputs("0" * 64), task)
    good = inputs(sha256(bundle / "bin/kube"))
    resource.create(good, task)
    assert machine.run(["kubeadm", "version", "-o", "short"]).stdout == f"v{onprem.VERSION}\n"
    assert resource.read("op-w2", good).outputs == good
    machine.run(["sh", "-c", "echo 'vm.swappiness=1' >>/etc/sysctl.d/90-headrace-kubernetes.conf"])
    assert resource.read("op-w2", good).outputs["drifted"]
    with pytest.raises(Problem, match="it belongs to stack 'onprem'"):
        resource.create({**good, "stack": "other"}, task)
    stranger = KEY.with_suffix(".pub").read_text()
    with pytest.raises(Problem, match=r"what answers at 10\.251\.0\.47 has another key"):
        resource.create({**good, "host_key": stranger}, task)
    resource.delete("op-w2", good, task)
    assert listing(machine) == before
    assert resource.read("op-w2", good).id is None

    script = "useradd -m ann; cp -r ~root/.ssh ~ann/; chown -R ann ~ann/.ssh"
    machine.run(["sh", "-ec", script])
    with pytest.raises(Problem, match="ann may not use sudo without a password"):
        resource.create({**good, "user": "ann"}, task)
    machine.run(["sh", "-c", "echo 'ann ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ann"])
    resource.create({**good, "user": "ann"}, task)
    resource.delete("op-w2", {**good, "user": "ann"}, task)


@pytest.mark.soak
def test_three_control_planes_outlive_one(tmp_path: Path) -> None:
    names = (*PLANES, "op-w1")
    bundle = onprem.make_bundle(tmp_path / "bundle", tmp_path, "keepalived")
    with site(bundle, tmp_path, *names) as made:
        made.wants(*names, virtual_ip=VIRTUAL_IP)
        made.stack.up()
        assert made.ready() == dict.fromkeys(names, True)
        made.stack.up("--expect-no-changes")
        _kill(made.machines["op-cp1"])
        until(lambda: bool(made.stack.kubectl("get", "--raw=/readyz", check=False)), 60)
        made.stack.apply(_pod("after", {}))
        made.stack.kubectl("wait", "--for=condition=Ready", "pod", "after", "--timeout=90s")
        until(lambda: not made.ready()["op-cp1"], 120)
        made.machines["op-cp1"].up()
        until(lambda: all(made.ready().values()), 180)
        made.stack.destroy()
        for each in made.machines:
            assert differences(made, each) == ([], []), each
