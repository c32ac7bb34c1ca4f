"""A cluster as one of its control planes sees it: kubectl and kubeadm there, over SSH."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from infra.onprem import etcd
from infra.onprem.kubeadm import MEMBER_FILE, is_member
from infra.onprem.ssh import (
    RECONNECT_S,
    AccessRefused,
    CommandFailed,
    ConnectionLost,
    HostUnreachable,
    RemoteHost,
    SshAddress,
)
from infra.providers.problem import Problem
from infra.providers.resource import Task
from infra.targets import pods

ADMIN = "/etc/kubernetes/admin.conf"
READY_S = 300
DRAIN_S = 300
TOKEN_TTL = "15m"  # noqa: S105 (a time)

Document = dict[str, Any]


class ControlPlane:
    """A control plane whose API server answers."""

    def __init__(self, host: RemoteHost) -> None:
        self.host = host
        self.task = host.task

    def kubectl(self, *arguments: str, input: str | None = None, timeout_s: float = 60, again: bool = True) -> str:
        """Raises `Failed` with what kubectl says."""
        return self.host.output(
            f'kubectl --kubeconfig={ADMIN} "$@"',
            *arguments,
            input=input,
            timeout_s=timeout_s,
            again=again,
            what=f"kubectl {' '.join(arguments[:2])}",
        )

    def apply(self, manifest: str) -> None:
        """Makes objects as they are described."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=manifest, timeout_s=120)

    def node(self, name: str) -> Document | None:
        """None when the cluster has no node of this name."""
        said = self.kubectl("get", "node", name, "--ignore-not-found", "-o=json")
        return dict(json.loads(said)) if said.strip() else None

    def nodes(self) -> list[Document]:
        return list(json.loads(self.kubectl("get", "nodes", "-o=json"))["items"])

    def kubeconfig(self) -> str:
        """A secret: it may do everything."""
        return self.host.output(f"cat {ADMIN}", secret=True) + "\n"

    @contextmanager
    def join_credentials(self, *, control_plane: bool) -> Iterator[tuple[str, str, str]]:
        """Token, hash of the certificate authority, and key of the certificates for one host that joins."""
        said = self.host.output(
            f"kubeadm token create --ttl={TOKEN_TTL} --print-join-command --description=headrace", secret=True
        )
        found = re.search(r"--token (\S+) --discovery-token-ca-cert-hash (\S+)", said)
        if not found:
            raise Problem(f"{self.host.name}: `kubeadm token create` printed no join command")
        token, authority = found[1], found[2]
        try:
            yield token, authority, self._certificate_key() if control_plane else ""
        finally:
            # Its first half names it, and is no secret.
            self.host.run('kubeadm token delete "$1"', token.partition(".")[0], check=False)
            if control_plane:
                self.kubectl("delete", "secret", "kubeadm-certs", "--namespace=kube-system", "--ignore-not-found")

    def _certificate_key(self) -> str:
        said = self.host.output(_UPLOAD_CERTS, secret=True, what="kubeadm init phase upload-certs")
        found = re.search(r"^[0-9a-f]{64}$", said, re.MULTILINE)
        if not found:
            raise Problem(f"{self.host.name}: `kubeadm init phase upload-certs` printed no key")
        return found[0]

    def label(self, name: str, labels: Mapping[str, str], before: Mapping[str, str]) -> None:
        """Gives a node labels, and takes those away that it had from us before."""
        words = [f"{key}={value}" for key, value in labels.items()]
        words += [f"{key}-" for key in before if key not in labels]
        if words:
            self.kubectl("label", "node", name, "--overwrite", *words)

    def taint(self, name: str, taints: Sequence[Mapping[str, str]], before: Sequence[Mapping[str, str]]) -> None:
        """The same for taints, each with `key`, `value` and `effect`."""
        kept = {(taint["key"], taint["effect"]) for taint in taints}
        there = {(t["key"], t["effect"]) for t in ((self.node(name) or {}).get("spec") or {}).get("taints") or ()}
        words = [f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in taints]
        gone = {(taint["key"], taint["effect"]) for taint in before} & there - kept
        words += [f"{key}:{effect}-" for key, effect in sorted(gone)]
        if words:
            self.kubectl("taint", "node", name, "--overwrite", *words)

    def drain(self, name: str, seconds: int = DRAIN_S) -> None:
        """Moves a node's pods elsewhere, as their disruption budgets allow. Raises `Problem` when they do not."""
        self.task.say(f"draining {name}")
        try:
            self.kubectl(
                "drain",
                name,
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                "--force",
                f"--timeout={seconds}s",
                "--skip-wait-for-delete-timeout=60",
                timeout_s=seconds + 30,
            )
        except CommandFailed as e:
            raise Problem(
                f"node {name} still has pods after {seconds} s: a budget (kubectl get pdb -A) keeps them, or no other"
                f" node takes them; make room or delete the budget, and go on with `make up`\n{e}"
            ) from None

    def uncordon(self, name: str) -> None:
        self.kubectl("uncordon", name)

    def wait_ready(self, name: str, seconds: float = READY_S) -> None:
        """Waits for a node; says what it waits for."""

        def pending() -> str:
            node = self.node(name)
            if node is None:
                return "it has not registered"
            ready: Document = next((c for c in node["status"].get("conditions", ()) if c["type"] == "Ready"), {})
            return "" if ready.get("status") == "True" else str(ready.get("message") or "it says nothing yet")

        wait_until_done(self.task, pending, f"node {name}", seconds)

    def wait_rollout(self, *workloads: str, seconds: float = READY_S) -> None:
        """Waits for workloads of kube-system, such as `deployment/coredns`."""
        for workload in workloads:
            self.task.say(f"waiting for {workload}")

            def pending(workload: str = workload) -> str:
                try:
                    self.kubectl(
                        "rollout", "status", workload, "--namespace=kube-system", "--timeout=10s", timeout_s=40
                    )
                except CommandFailed as e:
                    return self._pending_pod(workload) or str(e).splitlines()[-1].strip()
                return ""

            wait_until_done(self.task, pending, workload, seconds)

    def _pending_pod(self, workload: str) -> str:
        """Why a pod of a workload of kube-system is not ready, as it or its log says; empty when neither does."""
        named = json.loads(self.kubectl("get", workload, "--namespace=kube-system", "-o=json"))
        labels = ",".join(f"{key}={value}" for key, value in named["spec"]["selector"]["matchLabels"].items())
        said = self.kubectl("get", "pods", "--namespace=kube-system", f"--selector={labels}", "-o=json")
        for pod in json.loads(said)["items"]:
            name = pod["metadata"]["name"]
            if why := pods.stuck_reason(pod):
                return f"{name}: {why}"
            if pods.images_pulled(pod) and not pods.is_ready(pod):
                log = self.kubectl("logs", name, "--namespace=kube-system", "--tail=1").strip()
                return f"{name} runs and is not ready; its log says: {log}"
        return ""

    def remove_node(self, name: str, address: str) -> None:
        """Removes what a node that is gone leaves in the cluster: its object, its member of etcd.

        With a control plane, a member of etcd and the address of the API server may have gone elsewhere just now.
        """

        def pending() -> str:
            etcd.remove(self.host, name, address)
            self.kubectl("delete", "node", name, "--ignore-not-found", "--wait=true", timeout_s=120)
            return ""

        wait_until_done(self.task, pending, f"the cluster without {name}", READY_S)


# Without a version, kubeadm asks the internet for the newest.
_UPLOAD_CERTS = """
printf 'apiVersion: kubeadm.k8s.io/v1beta4\\nkind: ClusterConfiguration\\nkubernetesVersion: %s\\n' \\
  "$(kubeadm version --output=short)" | kubeadm init phase upload-certs --upload-certs --config=/dev/stdin
"""


def wait_until_done(task: Task, pending: Callable[[], str], what: str, seconds: float) -> None:
    """Waits until `waiting` returns nothing; a cluster that does not answer for a moment is waited for too."""
    start, said = time.monotonic(), ""
    while True:
        try:
            words = pending()
        except CommandFailed as e:
            words = str(e).splitlines()[-1].strip()
        if not words:
            return
        if words != said:
            task.say(f"{what}: {words}")
            said = words
        if time.monotonic() - start > seconds:
            raise Problem(f"{what} is not ready after {seconds:g} s: {words}")
        task.pause(0.5)


def is_api_ready(host: RemoteHost) -> bool:
    """True when the host is a control plane of ours whose API server answers."""
    script = f"test -s {MEMBER_FILE} && test -e {ADMIN} && kubectl --kubeconfig={ADMIN} get --raw=/readyz"
    return host.succeeds(script, timeout_s=30, again=False)


@contextmanager
def connect_control_plane(
    addresses: Sequence[SshAddress], task: Task, patience_s: float = RECONNECT_S
) -> Iterator[ControlPlane | None]:
    """The first control plane that answers; None when no cluster is there.

    Raises `Problem` when there may be one: for a while a control plane, which may be restarting, could not be asked,
    or had one that did not answer.
    """
    deadline = time.monotonic() + patience_s
    while True:
        host, unasked = _first_ready(addresses, task)
        if host or not unasked:
            break
        why = "no control plane answers:" + "".join(f"\n    {problem}" for problem in unasked)
        if time.monotonic() > deadline or all(isinstance(problem, AccessRefused) for problem in unasked):
            raise Problem(why)
        task.say(why)
        task.pause(2)
    try:
        yield ControlPlane(host) if host else None
    finally:
        if host:
            host.close()


def _first_ready(addresses: Sequence[SshAddress], task: Task) -> tuple[RemoteHost | None, list[Problem]]:
    """The first host whose API server answers, connected; and what kept others, which may have one, from answering."""
    unasked: list[Problem] = []
    for address in addresses:
        host = RemoteHost(address, task)
        try:
            host.connect()
            if is_api_ready(host):
                return host, []
            if is_member(host):
                unasked.append(Problem(f"{address.name}: its API server does not answer"))
        except (HostUnreachable, AccessRefused, ConnectionLost) as e:
            unasked.append(e)
        host.close()
    return None, unasked
