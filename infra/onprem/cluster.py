"""A cluster, accessed through kubectl and kubeadm on one of its control planes, over SSH."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from infra.kubernetes import pods
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
from infra.resources.problem import Problem
from infra.resources.resource import Task

ADMIN = "/etc/kubernetes/admin.conf"
READY_S = 300
DRAIN_S = 300
TOKEN_TTL = "15m"  # noqa: S105 (a time)

Document = dict[str, Any]


class ControlPlane:
    """A control plane with a working API server."""

    def __init__(self, host: RemoteHost) -> None:
        self.host = host
        self.task = host.task

    def kubectl(self, *arguments: str, input: str | None = None, timeout_s: float = 60, again: bool = True) -> str:
        """Runs kubectl; raises `CommandFailed` with its error."""
        return self.host.output(
            f'kubectl --kubeconfig={ADMIN} "$@"',
            *arguments,
            input=input,
            timeout_s=timeout_s,
            again=again,
            what=f"kubectl {' '.join(arguments[:2])}",
        )

    def apply(self, manifest: str) -> None:
        """Applies a manifest."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=manifest, timeout_s=120)

    def node(self, name: str) -> Document | None:
        """Returns a node; None if the cluster has no node of this name."""
        output = self.kubectl("get", "node", name, "--ignore-not-found", "-o=json")
        return dict(json.loads(output)) if output.strip() else None

    def nodes(self) -> list[Document]:
        return list(json.loads(self.kubectl("get", "nodes", "-o=json"))["items"])

    def kubeconfig(self) -> str:
        """Returns the administrator's kubeconfig, a secret."""
        return self.host.output(f"cat {ADMIN}", secret=True) + "\n"

    @contextmanager
    def join_credentials(self, *, control_plane: bool) -> Iterator[tuple[str, str, str]]:
        """Yields the token, the hash of the certificate authority and the certificate key for one joining host."""
        output = self.host.output(
            f"kubeadm token create --ttl={TOKEN_TTL} --print-join-command --description=headrace", secret=True
        )
        found = re.search(r"--token (\S+) --discovery-token-ca-cert-hash (\S+)", output)
        if not found:
            raise Problem(f"{self.host.name}: `kubeadm token create` printed no join command")
        token, authority = found[1], found[2]
        try:
            yield token, authority, self._certificate_key() if control_plane else ""
        finally:
            # The first half of a token is its id, which is not secret.
            self.host.run('kubeadm token delete "$1"', token.partition(".")[0], check=False)
            if control_plane:
                self.kubectl("delete", "secret", "kubeadm-certs", "--namespace=kube-system", "--ignore-not-found")

    def _certificate_key(self) -> str:
        output = self.host.output(_UPLOAD_CERTS, secret=True, what="kubeadm init phase upload-certs")
        found = re.search(r"^[0-9a-f]{64}$", output, re.MULTILINE)
        if not found:
            raise Problem(f"{self.host.name}: `kubeadm init phase upload-certs` printed no key")
        return found[0]

    def label(self, name: str, labels: Mapping[str, str], before: Mapping[str, str]) -> None:
        """Sets a node's labels, and removes those in `before` that are no longer wanted."""
        changes = [f"{key}={value}" for key, value in labels.items()]
        changes += [f"{key}-" for key in before if key not in labels]
        if changes:
            self.kubectl("label", "node", name, "--overwrite", *changes)

    def taint(self, name: str, taints: Sequence[Mapping[str, str]], before: Sequence[Mapping[str, str]]) -> None:
        """Sets a node's taints (`key`, `value`, `effect`), and removes those in `before` that are no longer wanted."""
        kept = {(taint["key"], taint["effect"]) for taint in taints}
        current = {(t["key"], t["effect"]) for t in ((self.node(name) or {}).get("spec") or {}).get("taints") or ()}
        changes = [f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in taints]
        gone = {(taint["key"], taint["effect"]) for taint in before} & current - kept
        changes += [f"{key}:{effect}-" for key, effect in sorted(gone)]
        if changes:
            self.kubectl("taint", "node", name, "--overwrite", *changes)

    def drain(self, name: str, seconds: int = DRAIN_S) -> None:
        """Drains a node, within the disruption budgets of its pods. Raises `Problem` if pods remain."""
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
                f"node {name} still has pods after {seconds} s: a disruption budget (kubectl get pdb -A) protects"
                f" them, or no other node has room; make room or delete the budget, then run `make up` again\n{e}"
            ) from None

    def uncordon(self, name: str) -> None:
        self.kubectl("uncordon", name)

    def wait_ready(self, name: str, seconds: float = READY_S) -> None:
        """Waits until a node is ready, and shows why it is not."""

        def pending() -> str:
            node = self.node(name)
            if node is None:
                return "it has not registered yet"
            ready: Document = next((c for c in node["status"].get("conditions", ()) if c["type"] == "Ready"), {})
            return "" if ready.get("status") == "True" else str(ready.get("message") or "it has no status yet")

        wait_until_done(self.task, pending, f"node {name}", seconds)

    def wait_rollout(self, *workloads: str, seconds: float = READY_S) -> None:
        """Waits for the rollout of workloads in kube-system, such as `deployment/coredns`."""
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
        """Returns why a pod of a workload in kube-system is not ready, from its status or log; empty if unknown."""
        definition = json.loads(self.kubectl("get", workload, "--namespace=kube-system", "-o=json"))
        labels = ",".join(f"{key}={value}" for key, value in definition["spec"]["selector"]["matchLabels"].items())
        output = self.kubectl("get", "pods", "--namespace=kube-system", f"--selector={labels}", "-o=json")
        for pod in json.loads(output)["items"]:
            name = pod["metadata"]["name"]
            if why := pods.stuck_reason(pod):
                return f"{name}: {why}"
            if pods.images_pulled(pod) and not pods.is_ready(pod):
                log = self.kubectl("logs", name, "--namespace=kube-system", "--tail=1").strip()
                return f"{name} is running but not ready; last line of its log: {log}"
        return ""

    def remove_node(self, name: str, address: str) -> None:
        """Removes the node object and the etcd member of a lost node.

        It retries, since the loss of a control plane can move etcd's leader and the API server's address.
        """

        def pending() -> str:
            etcd.remove(self.host, name, address)
            self.kubectl("delete", "node", name, "--ignore-not-found", "--wait=true", timeout_s=120)
            return ""

        wait_until_done(self.task, pending, f"the cluster without {name}", READY_S)


# Without a version, kubeadm looks up the latest one on the internet.
_UPLOAD_CERTS = """
printf 'apiVersion: kubeadm.k8s.io/v1beta4\\nkind: ClusterConfiguration\\nkubernetesVersion: %s\\n' \\
  "$(kubeadm version --output=short)" | kubeadm init phase upload-certs --upload-certs --config=/dev/stdin
"""


def wait_until_done(task: Task, pending: Callable[[], str], what: str, seconds: float) -> None:
    """Waits until `pending`, which returns what is still missing, returns an empty string.

    Failed commands are retried: a cluster may not answer for a moment.
    """
    start, shown = time.monotonic(), ""
    while True:
        try:
            reason = pending()
        except CommandFailed as e:
            reason = str(e).splitlines()[-1].strip()
        if not reason:
            return
        if reason != shown:
            task.say(f"{what}: {reason}")
            shown = reason
        if time.monotonic() - start > seconds:
            raise Problem(f"{what} is not ready after {seconds:g} s: {reason}")
        task.pause(0.5)


def is_api_ready(host: RemoteHost) -> bool:
    """Returns whether the host is a control plane of Headrace with a working API server."""
    script = f"test -s {MEMBER_FILE} && test -e {ADMIN} && kubectl --kubeconfig={ADMIN} get --raw=/readyz"
    return host.succeeds(script, timeout_s=30, again=False)


@contextmanager
def connect_control_plane(
    addresses: Sequence[SshAddress], task: Task, patience_s: float = RECONNECT_S
) -> Iterator[ControlPlane | None]:
    """Yields the first control plane that answers; None if there is no cluster.

    Raises `Problem` if there may be a cluster: a control plane could not be reached, or its API server did not answer,
    for `patience_s` seconds, within which a restart should be over.
    """
    deadline = time.monotonic() + patience_s
    while True:
        host, problems = _first_ready(addresses, task)
        if host or not problems:
            break
        why = "no control plane answers:" + "".join(f"\n    {problem}" for problem in problems)
        if time.monotonic() > deadline or all(isinstance(problem, AccessRefused) for problem in problems):
            raise Problem(why)
        task.say(why)
        task.pause(2)
    try:
        yield ControlPlane(host) if host else None
    finally:
        if host:
            host.close()


def _first_ready(addresses: Sequence[SshAddress], task: Task) -> tuple[RemoteHost | None, list[Problem]]:
    """Returns the first host with a working API server, connected, or the problems of hosts that may have one."""
    problems: list[Problem] = []
    for address in addresses:
        host = RemoteHost(address, task)
        try:
            host.connect()
            if is_api_ready(host):
                return host, []
            if is_member(host):
                problems.append(Problem(f"{address.name}: its API server does not answer"))
        except (HostUnreachable, AccessRefused, ConnectionLost) as e:
            problems.append(e)
        host.close()
    return None, problems
