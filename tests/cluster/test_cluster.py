"""The test cluster: the behaviour that tests of the product rely on."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.layout import CHECKOUT
from tests.cluster.pods import LISTEN, PORT, Kubectl, new_namespace, pod, start
from tests.wait import eventually
from tools.cluster import cluster as life
from tools.cluster import image_loader, images, volumes
from tools.cluster.layout import NODES, VOLUMES, WORKERS
from tools.images.oci import ImageConfig, write_archive
from tools.machines.root import debian_root
from tools.report import ToolError

WEST, EAST = (worker.name for worker in WORKERS)


def address(kubectl: Kubectl, namespace: str, name: str) -> str:
    return kubectl(f"-n={namespace}", "get", "pod", name, "-o=jsonpath={.status.podIP}")


def ask(kubectl: Kubectl, namespace: str, client: str, where: str, port: int = PORT, *, within_s: int = 20) -> str:
    """Returns what the client receives from the address; raises ToolError with socat's message if it gets nothing."""
    command = ("socat", f"-t{within_s}", f"-T{within_s}", "-", f"TCP:{where}:{port},connect-timeout={within_s}")
    return kubectl(f"-n={namespace}", "exec", client, "--", *command).strip()


def succeeds(action: Callable[[], object], error: type[Exception] = ToolError) -> bool:
    try:
        action()
    except error:
        return False
    return True


def reaches(kubectl: Kubectl, namespace: str, client: str, where: str, port: int = PORT) -> bool:
    """Returns whether the client receives an answer now; for callers that poll."""
    return succeeds(lambda: ask(kubectl, namespace, client, where, port, within_s=2))


@pytest.fixture(scope="module")
def pair(kubectl: Kubectl) -> Iterator[str]:
    """A namespace with the pods `west` and `east` on different workers, which reach each other."""
    with new_namespace("pair") as name:
        start(kubectl, name, pod("west", WEST), pod("east", EAST))
        hear(kubectl, name, "west", "east")
        hear(kubectl, name, "east", "west")
        yield name


def hear(kubectl: Kubectl, namespace: str, client: str, server: str) -> str:
    """As `ask`, but retried until routes and policies of both nodes apply; they follow a new pod within seconds."""
    where = address(kubectl, namespace, server)
    eventually(lambda: reaches(kubectl, namespace, client, where))
    return ask(kubectl, namespace, client, where)


def test_pods_reach_each_other_across_nodes(kubectl: Kubectl, pair: str) -> None:
    west, east = (address(kubectl, pair, name) for name in ("west", "east"))
    assert west.rsplit(".", 1)[0] != east.rsplit(".", 1)[0]  # a subnet for each node
    assert ask(kubectl, pair, "west", east) == "east"
    assert ask(kubectl, pair, "east", west) == "west"


def test_the_source_address_of_a_pod_is_preserved_across_nodes(kubectl: Kubectl, namespace: str) -> None:
    """Policies match addresses, so they do not work if one node's pods are masqueraded on the way to another."""
    who = {"command": [*LISTEN, "SYSTEM:echo $SOCAT_PEERADDR"]}
    start(kubectl, namespace, pod("west", WEST, **who), pod("east", EAST, **who))
    west, east = (address(kubectl, namespace, name) for name in ("west", "east"))
    assert hear(kubectl, namespace, "west", "east") == west
    assert hear(kubectl, namespace, "east", "west") == east


def test_services_are_found_by_name_on_both_nodes(kubectl: Kubectl, pair: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "east"}, "ports": [{"port": 80, "targetPort": PORT}]},
    }
    start(kubectl, pair, service)
    for client in ("west", "east"):
        eventually(lambda client=client: reaches(kubectl, pair, client, "web", 80))
        for name in ("web", f"web.{pair}", f"web.{pair}.svc.cluster.local"):
            assert ask(kubectl, pair, client, name, 80) == "east"
        assert "kubernetes.default.svc.cluster.local" in kubectl(
            f"-n={pair}", "exec", client, "--", "getent", "hosts", "kubernetes.default.svc.cluster.local"
        )


def test_the_host_reaches_services_and_pods_of_both_nodes(kubectl: Kubectl, pair: str) -> None:
    def heard(where: str) -> str:
        with socket.create_connection((where, PORT), timeout=5) as connection, connection.makefile() as answer:
            return answer.readline().strip()

    for name in ("west", "east"):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": PORT}]},
        }
        start(kubectl, pair, service)
        virtual = kubectl(f"-n={pair}", "get", "service", name, "-o=jsonpath={.spec.clusterIP}")
        for where in (virtual, address(kubectl, pair, name)):
            eventually(lambda where=where: succeeds(lambda: heard(where), OSError))
            assert heard(where) == name


def test_pods_cannot_resolve_names_of_the_internet(kubectl: Kubectl, pair: str) -> None:
    with pytest.raises(ToolError, match="exit code 2"):
        kubectl(f"-n={pair}", "exec", "west", "--", "getent", "hosts", "example.org")


def test_a_network_policy_applies_across_nodes(kubectl: Kubectl, pair: str) -> None:
    start(kubectl, pair, pod("friend", WEST), pod("neighbour", EAST))
    east = address(kubectl, pair, "east")
    for client in ("west", "friend", "neighbour"):
        assert hear(kubectl, pair, client, "east") == "east"
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only-friends"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "east"}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": {"app": "friend"}}}],
                    "ports": [{"port": PORT, "protocol": "TCP"}],
                }
            ],
        },
    }
    start(kubectl, pair, policy)
    eventually(lambda: not any(reaches(kubectl, pair, "west", east) for _ in range(3)))
    for _ in range(3):
        for stranger in ("west", "neighbour"):  # on the other node, and on the same one
            with pytest.raises(ToolError, match=r"socat\[\d+\] E"):
                ask(kubectl, pair, stranger, east, within_s=2)
        assert ask(kubectl, pair, "friend", east) == "east"
    kubectl(f"-n={pair}", "delete", "networkpolicy", "only-friends")
    eventually(lambda: reaches(kubectl, pair, "west", east))


def test_a_policy_without_egress_rules_blocks_outgoing_connections(kubectl: Kubectl, pair: str) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "silent"},
        "spec": {"podSelector": {"matchLabels": {"app": "west"}}, "policyTypes": ["Egress"]},
    }
    east = address(kubectl, pair, "east")
    assert ask(kubectl, pair, "west", east) == "east"
    start(kubectl, pair, policy)
    eventually(lambda: not any(reaches(kubectl, pair, "west", east) for _ in range(3)))
    assert ask(kubectl, pair, "east", address(kubectl, pair, "west")) == "west"


def test_a_volume_is_shared_between_nodes_for_any_user(kubectl: Kubectl, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    pods = []
    for name, node, user in (("west", WEST, 10001), ("east", EAST, 10002)):
        pods.append(pod(name, node, volumeMounts=[{"name": "data", "mountPath": "/data"}]))
        pods[-1]["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        pods[-1]["spec"]["securityContext"] = {"runAsUser": user, "runAsGroup": user, "runAsNonRoot": True}
    start(kubectl, namespace, claim, *pods)
    kubectl(f"-n={namespace}", "exec", "west", "--", "sh", "-c", "echo from west > /data/file")
    assert kubectl(f"-n={namespace}", "exec", "east", "--", "cat", "/data/file") == "from west\n"
    volume = kubectl(f"-n={namespace}", "get", "pvc", "data", "-o=jsonpath={.spec.volumeName}")
    assert (VOLUMES / volume / "file").read_text() == "from west\n"

    kubectl(f"-n={namespace}", "delete", "pod", "west", "east", "--wait")
    kubectl(f"-n={namespace}", "delete", "pvc", "data", "--wait")
    kubectl("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{volume}", "--timeout=60s")
    volumes.renew(kubectl)
    kubectl("wait", "--for=jsonpath={.status.phase}=Available", f"pv/{volume}", "--timeout=60s")
    assert list((VOLUMES / volume).iterdir()) == []


@pytest.mark.alone  # what claims a volume meanwhile would not get it
def test_the_default_storage_class_can_be_unset(kubectl: Kubectl, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    try:
        volumes.renew(kubectl, default=False)
        start(kubectl, namespace, claim)
        assert kubectl(f"-n={namespace}", "get", "pvc", "data", "-o=jsonpath={.spec.storageClassName}") == ""
    finally:
        volumes.renew(kubectl)


def test_resource_limits_are_enforced(kubectl: Kubectl, namespace: str) -> None:
    # Ends by itself at 128 MiB where nothing limits it.
    hungry = pod(
        "hungry",
        EAST,
        command=["sh", "-c", "x=aaaaaaaaaaaaaaaa; while [ ${#x} -lt 134217728 ]; do x=$x$x; done"],
        resources={"limits": {"memory": "32Mi"}},
        readinessProbe=None,
    )
    hungry["spec"]["restartPolicy"] = "Never"
    kubectl(f"-n={namespace}", "apply", "-f=-", input=json.dumps(hungry))
    kubectl(f"-n={namespace}", "wait", "--for=jsonpath={.status.phase}=Failed", "pod/hungry", "--timeout=60s")
    # The reason is OOMKilled only where containerd has read the event of the kill before it reads that of the end:
    # the status tells the truth on a busy machine too.
    status = "-o=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"
    assert kubectl(f"-n={namespace}", "get", "pod", "hungry", status) == str(128 + signal.SIGKILL)


def _refuse(*_: object) -> None:
    raise AssertionError("an archive was imported again")


def test_an_archive_is_loaded_once_and_found_by_name_and_digest(
    kubectl: Kubectl, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = images.tools(debian_root(), tmp_path / "tools")
    names = {}
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "version").write_text(version)
        file = tmp_path / f"{version}.tar"
        config = ImageConfig(env={"PATH": "/usr/bin"}, cmd=["cat", "/version"])
        digest = write_archive(file, "headrace/version:test", [tools, tmp_path / version], config)
        assert life.load_archives([file]) == {"docker.io/headrace/version:test": digest}
        names[f"headrace/version@{digest}"] = version
        for node in WORKERS:
            assert image_loader.present_images(node)["docker.io/headrace/version:test"] == digest
    monkeypatch.setattr(image_loader, "_share", _refuse)
    life.load_archives([tmp_path / "2.tar"])  # is there, so nothing is imported
    monkeypatch.undo()
    names["headrace/version:test"] = "2"
    versions, pods = {}, []
    for number, (name, version) in enumerate(names.items()):
        for node in WORKERS:
            one = f"{node.name}-{number}"
            spec = pod(one, node.name, image=name, command=None, readinessProbe=None, imagePullPolicy="IfNotPresent")
            spec["spec"]["restartPolicy"] = "Never"
            pods.append(spec)
            versions[one] = version
    start(kubectl, namespace, *pods, until="jsonpath={.status.phase}=Succeeded")
    assert {one: kubectl(f"-n={namespace}", "logs", one) for one in versions} == versions


def test_up_does_not_change_a_running_cluster(kubectl: Kubectl) -> None:
    def state() -> list[str]:
        pods = kubectl("-n=kube-system", "get", "pods", "-o=jsonpath={range .items[*]}{.metadata.uid} {end}")
        return [*sorted(pods.split()), *(str(node.pid) for node in NODES)]

    before = state()
    life.up()
    assert state() == before


def test_a_shell_that_evaluates_env_has_kubectl(cluster: None) -> None:
    script = 'eval "$("$0" -m tools.cluster env)" && kubectl get nodes --output=name'
    said = subprocess.run(
        ["sh", "-ec", script, sys.executable], capture_output=True, text=True, cwd=CHECKOUT, check=True
    )
    assert set(said.stdout.split()) == {f"node/{node.name}" for node in NODES}
