"""What pods without business there try on the Ray of a running stack: the pods, and their attacks."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.stack import NAMESPACE
from tests.ray_isolation import attack as attacking
from tests.ray_isolation.attack import Plan, Report
from tests.wait import eventually

Kubectl = Callable[..., str]
STACK = NAMESPACE
ELSEWHERE = "isolation-elsewhere"
"""A namespace that has nothing to do with the stack."""

WHERE = (ELSEWHERE, STACK)

LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
"""As /proc writes it: of IPv4, of IPv4 in IPv6, and of IPv6."""

ATTACKER = "isolation-attacker"
SCRIPT = Path(attacking.__file__).read_text()
OTHER_DOCUMENT = json.dumps({"applications": []})


@dataclass(frozen=True)
class Ray:
    """The stack's Ray: its pods by name and address, and what an attacker may know."""

    head: str
    workers: dict[str, str]
    pods: dict[str, str]
    addresses: list[str]
    token: str
    document: str
    image: dict[str, str]

    def plan(self, marker: str, token: str | None) -> Plan:
        head = self.pods[self.head]
        return Plan(
            addresses=self.addresses,
            gcs=f"{head}:6379",
            client=f"{head}:10001",
            proxy=f"{head}:8265",
            documents=[OTHER_DOCUMENT, self.document],
            marker=marker,
            token=token,
        )


def the_ray(kubectl: Kubectl) -> Ray:
    """The stack's, as it is now."""
    active = "-o=jsonpath={.status.activeServiceStatus.rayClusterName}"
    selector = f"-l=ray.io/cluster={kubectl(f'-n={STACK}', 'get', 'rayservice', STACK, active)}"
    pods = json.loads(kubectl(f"-n={STACK}", "get", "pods", selector, "-o=json"))["items"]
    pods = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
    (head,) = (p for p in pods if p["metadata"]["labels"]["app.kubernetes.io/component"] == "head")
    by_name = {p["metadata"]["name"]: p["status"]["podIP"] for p in pods}
    container = next(c for c in head["spec"]["containers"] if c["name"] == "ray-head")
    secret = next(v["secret"] for v in head["spec"]["volumes"] if v["name"] == "ray-token")
    (item,) = secret["items"]
    data = json.loads(kubectl(f"-n={STACK}", "get", "secret", secret["secretName"], "-o=json"))["data"]
    serve = json.loads(kubectl(f"-n={STACK}", "get", "configmap", f"{STACK}-serve", "-o=json"))
    return Ray(
        head=head["metadata"]["name"],
        workers={n: ip for n, ip in by_name.items() if n != head["metadata"]["name"]},
        pods=by_name,
        addresses=[f"{ip}:{port}" for name, ip in by_name.items() for port in sorted(listeners(kubectl, name))],
        token=base64.b64decode(data[item["key"]]).decode().strip(),
        document=serve["data"]["serve.json"],
        image={k: container[k] for k in ("image", "imagePullPolicy")},
    )


def listeners(kubectl: Kubectl, pod: str) -> set[int]:
    """The TCP ports that something in the pod listens on beyond loopback."""
    ports = set()
    for line in kubectl(f"-n={STACK}", "exec", pod, "--", "cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines():
        fields = line.split()
        if fields[3] == "0A":  # listens
            host, port = fields[1].split(":")
            if host not in LOOPBACK:
                ports.add(int(port, 16))
    return ports


@contextmanager
def foreign_pods(kubectl: Kubectl, ray: Ray) -> Iterator[None]:
    """In each namespace a pod that has the stack's image and none of its labels."""
    kubectl("create", "namespace", ELSEWHERE)
    kubectl(f"-n={ELSEWHERE}", "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    security: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "command": ["sleep", "infinity"], "securityContext": security, **ray.image}
    user = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": ATTACKER},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": user,
            "containers": [container],
        },
    }
    for namespace in WHERE:
        kubectl(f"-n={namespace}", "apply", "-f=-", input=json.dumps(pod))
    try:
        for namespace in WHERE:
            kubectl(f"-n={namespace}", "wait", "--for=condition=Ready", f"pod/{ATTACKER}", "--timeout=120s")
        # Each node lets in a new pod of the namespace once it knows its address.
        eventually(lambda: reached(kubectl, STACK, ray, apis(ray)) == apis(ray), "the API is reached")
        yield
    finally:
        for namespace in WHERE:
            kubectl(f"-n={namespace}", "delete", "pod", ATTACKER, "--wait", "--timeout=180s")
        kubectl("delete", "namespace", ELSEWHERE, "--wait", "--timeout=180s")


def apis(ray: Ray) -> list[str]:
    return sorted(f"{ip}:8000" for ip in ray.workers.values())


def reached(kubectl: Kubectl, where: str, ray: Ray, addresses: list[str]) -> list[str]:
    """Which of the addresses take a connection from the foreign pod."""
    return sorted(send(kubectl, where, dataclasses.replace(ray.plan("", None), addresses=addresses), "reach"))


def send(kubectl: Kubectl, where: str, plan: Plan, verb: str) -> Any:
    """Runs the script in the foreign pod."""
    command = ("exec", "-i", ATTACKER, "--", "python", "-c", SCRIPT, verb)
    return json.loads(kubectl(f"-n={where}", *command, input=json.dumps(dataclasses.asdict(plan)), timeout=280))


def attack(kubectl: Kubectl, ray: Ray, where: str, token: str | None) -> tuple[Report, set[str]]:
    """Returns what the foreign pod saw, and the files that its pickles made, as POD_IP:PORT."""
    marker = f"/tmp/isolation-{secrets.token_hex(4)}"
    report = Report(**send(kubectl, where, ray.plan(marker, token), "attack"))
    made = set()
    for name, ip in ray.pods.items():
        shell = f"for f in {marker}-*; do [ -e $f ] && echo $f; rm -f $f; done; true"
        files = kubectl(f"-n={STACK}", "exec", name, "--", "bash", "-c", shell).split()
        made |= {f"{ip}:{file.rpartition('-')[2]}" for file in files}
    return report, made
