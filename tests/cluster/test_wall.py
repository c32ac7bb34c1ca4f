"""The two walls around Ray, each by itself and both: what pods without business there can do to a running stack.

With the policies opened, Ray's token alone keeps foreign pods out; with the policies closed, the token does not help.
The same attacks, through opened policies and with the token, succeed: each can fail and does.
"""

import base64
import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.stack import NAMESPACE, ClusterStack
from tests.door import attack as attacking
from tests.door.attack import Plan, Report
from tests.wait import eventually

pytestmark = pytest.mark.timeout(900)

Kubectl = Callable[..., str]
STACK = NAMESPACE
ELSEWHERE = "wall-elsewhere"
"""A namespace that has nothing to do with the stack."""

LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
"""As /proc writes it: of IPv4, of IPv4 in IPv6, and of IPv6."""

ATTACKER = "wall-attacker"
SCRIPT = Path(attacking.__file__).read_text()
OTHER_DOCUMENT = json.dumps({"applications": []})
EVERYONE = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "wall-everyone"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
}


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
            door=f"{head}:8265",
            documents=[OTHER_DOCUMENT, self.document],
            marker=marker,
            token=token,
        )


@pytest.fixture(scope="module")
def ray(stack: ClusterStack, kubectl: Kubectl) -> Ray:
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


NAMES = {ELSEWHERE: "elsewhere", STACK: "beside"}
everywhere = pytest.mark.parametrize("where", NAMES, ids=NAMES.get, indirect=True)
once = pytest.mark.parametrize(
    "where", [ELSEWHERE, pytest.param(STACK, marks=pytest.mark.soak)], ids=NAMES.get, indirect=True
)
"""Of what does not depend on policies, which let everyone in."""


@pytest.fixture(scope="module")
def where(kubectl: Kubectl, ray: Ray, request: pytest.FixtureRequest) -> Iterator[str]:
    """The namespace of a pod that has the stack's image and none of its labels."""
    namespace = str(request.param)
    if namespace == ELSEWHERE:
        kubectl("create", "namespace", namespace)
        kubectl(f"-n={namespace}", "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
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
    kubectl(f"-n={namespace}", "apply", "-f=-", input=json.dumps(pod))
    try:
        kubectl(f"-n={namespace}", "wait", "--for=condition=Ready", f"pod/{ATTACKER}", "--timeout=120s")
        if namespace == STACK:  # each node lets in a new pod of the namespace once it knows its address
            eventually(lambda: reached(kubectl, namespace, ray, apis(ray)) == apis(ray), "the API is reached")
        yield namespace
    finally:
        kubectl(f"-n={namespace}", "delete", "pod", ATTACKER, "--wait", "--timeout=180s")
        if namespace == ELSEWHERE:
            kubectl("delete", "namespace", namespace, "--wait", "--timeout=180s")


@pytest.fixture
def opened(kubectl: Kubectl, ray: Ray, where: str) -> Iterator[None]:
    """The policies let everyone in, on each node."""
    behind = {a.rpartition(":")[0]: a for a in ray.addresses if not a.endswith(":8000")}
    doors = sorted(behind.values())
    assert behind.keys() == {*ray.pods.values()}
    assert reached(kubectl, where, ray, doors) == []
    kubectl(f"-n={STACK}", "apply", "-f=-", input=json.dumps(EVERYONE))
    try:
        eventually(lambda: reached(kubectl, where, ray, doors) == doors, "every pod is reached")
        yield
    finally:
        kubectl(f"-n={STACK}", "delete", "networkpolicy", EVERYONE["metadata"]["name"])
        eventually(lambda: reached(kubectl, where, ray, doors) == [], "no pod is reached")


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
    marker = f"/tmp/wall-{secrets.token_hex(4)}"
    report = Report(**send(kubectl, where, ray.plan(marker, token), "attack"))
    made = set()
    for name, ip in ray.pods.items():
        shell = f"for f in {marker}-*; do [ -e $f ] && echo $f; rm -f $f; done; true"
        files = kubectl(f"-n={STACK}", "exec", name, "--", "bash", "-c", shell).split()
        made |= {f"{ip}:{file.rpartition('-')[2]}" for file in files}
    return report, made


@everywhere
def test_policies_keep_out_even_who_has_the_token(kubectl: Kubectl, ray: Ray, where: str) -> None:
    report, made = attack(kubectl, ray, where, ray.token)
    # The namespace's own pods may ask the API, which wants an API key.
    assert sorted(report.reached) == (apis(ray) if where == STACK else [])
    assert made == set()
    assert report.taken == []
    assert report.documents == [0, 0]
    assert report.gcs
    assert report.client in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@once
@pytest.mark.usefixtures("opened")
def test_the_token_keeps_out_whom_policies_let_in(kubectl: Kubectl, ray: Ray, where: str) -> None:
    friend, opened = attack(kubectl, ray, where, ray.token)
    # The attacks are real ones: with the token they all get through, but for the door, which takes no one's token.
    assert opened & {f"{ip}:{a.rpartition(':')[2]}" for ip in ray.workers.values() for a in ray.addresses}
    assert any(url.endswith("/api/job_agent/jobs/") for url in friend.taken)
    assert (friend.gcs, friend.client) == ("", "OK")
    assert friend.documents == [403, 200]
    for token, status in ((None, 401), (secrets.token_hex(32), 403)):
        report, made = attack(kubectl, ray, where, token)
        assert len(report.reached) > 10
        assert made == set()
        assert {report.pickles[a] for a in opened} == {"UNAUTHENTICATED"}
        assert report.taken == []
        assert {report.jobs[url] for url in friend.taken} == {status}
        assert "unauthenticated" in report.gcs.lower()
        assert report.client == "UNAUTHENTICATED"
        assert report.documents == [403, 200]


@once
@pytest.mark.usefixtures("opened")
def test_the_door_opens_for_nothing_else(kubectl: Kubectl, ray: Ray, where: str) -> None:
    url = f"http://{ray.pods[ray.head]}:8265"
    code = (
        "import sys, httpx; "
        "print([httpx.request(m, sys.argv[1] + p, timeout=30).status_code for m, p in eval(sys.argv[2])])"
    )
    asked = {
        ("GET", "/api/gcs_healthz"): 200,
        ("GET", "/api/serve/applications/?api_type=declarative"): 200,
        ("DELETE", "/api/serve/applications/"): 403,
        ("GET", "/api/jobs/"): 403,
        ("GET", "/api/version"): 403,
        ("GET", "/"): 403,
    }
    said = kubectl(f"-n={where}", "exec", ATTACKER, "--", "python", "-c", code, url, repr(list(asked)))
    assert json.loads(said) == list(asked.values())
