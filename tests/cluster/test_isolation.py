"""The two layers of isolation around Ray, each by itself and both: what foreign pods can do to a running stack.

With the policies opened, Ray's token alone keeps foreign pods out; with the policies closed, the token does not help.
The same attacks, through opened policies and with the token, succeed: each can fail and does.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from tests.cluster.isolation import ATTACKER, ELSEWHERE, STACK, Ray, apis, attack, reached
from tests.ray_isolation.attack import Report
from tests.wait import eventually

pytestmark = pytest.mark.timeout(900)

Kubectl = Callable[..., str]
EVERYONE = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "isolation-everyone"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
}


NAMES = {ELSEWHERE: "elsewhere", STACK: "beside"}
everywhere = pytest.mark.parametrize("where", NAMES, ids=NAMES.get)
once = pytest.mark.parametrize("where", [ELSEWHERE, pytest.param(STACK, marks=pytest.mark.soak)], ids=NAMES.get)
"""Of what does not depend on policies, which let everyone in."""


@pytest.fixture
def opened(kubectl: Kubectl, ray: Ray, attackers: None, where: str) -> Iterator[None]:
    """Opens the policies for all pods, on each node."""
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


@everywhere
def test_policies_block_pods_that_have_the_token(
    ray: Ray, kept_out: dict[str, Future[tuple[Report, set[str]]]], where: str
) -> None:
    report, made = kept_out[where].result()
    # The namespace's own pods may ask the API, which wants an API key.
    assert sorted(report.reached) == (apis(ray) if where == STACK else [])
    assert made == set()
    assert report.taken == []
    assert report.documents == [0, 0]
    assert report.gcs
    assert report.client in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@once
@pytest.mark.usefixtures("opened")
def test_the_token_blocks_pods_that_policies_allow(kubectl: Kubectl, ray: Ray, where: str) -> None:
    friend, opened = attack(kubectl, ray, where, ray.token)
    # The attacks are real: with the token all succeed, except on the dashboard proxy, which accepts nobody's token.
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
def test_the_dashboard_proxy_forwards_nothing_else(kubectl: Kubectl, ray: Ray, where: str) -> None:
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
