"""Access to a real Ray: the requests that the dashboard proxy allows, and those that Ray rejects without its token."""

from __future__ import annotations

import copy
import json
import secrets
from pathlib import Path

import httpx
import psutil
import pytest

from infra.providers.ray_head import NODE
from infra.providers.ray_ports import RayPorts
from infra.providers.session import Session
from tests.ray_isolation.attack import Plan, attack
from tests.ray_isolation.proxied_ray import APPLICATIONS, KUBERAYS_READ, ProxiedRay, application
from tests.wait import eventually


def test_health_and_state_are_readable_without_a_token(deployed: ProxiedRay) -> None:
    assert deployed.proxy.get("/api/gcs_healthz").text == "success"
    assert deployed.proxy.get(APPLICATIONS).json()["applications"].keys() == {"one"}


def test_other_paths_of_the_dashboard_are_refused(deployed: ProxiedRay) -> None:
    pwned = "echo pwned"
    job = {"entrypoint": pwned}
    for method, target in (
        ("POST", "/api/jobs/"),
        ("GET", "/api/jobs/"),
        ("DELETE", APPLICATIONS),
        ("GET", "/api/version"),
        ("GET", "/"),
    ):
        answer = deployed.proxy.request(method, target, json=job)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), (method, target)
    with_token = {"Authorization": f"Bearer {deployed.token}"}
    jobs = httpx.get(f"{deployed.dashboard}/api/jobs/", headers=with_token, trust_env=False, timeout=30).json()
    assert pwned not in {job["entrypoint"] for job in jobs}


@pytest.mark.parametrize("target", ["/api/jobs/", APPLICATIONS, "/api/version", "/nodes"])
def test_the_dashboard_itself_requires_the_token(deployed: ProxiedRay, target: str) -> None:
    url = deployed.dashboard + target
    assert httpx.get(url, trust_env=False, timeout=30).status_code == 401
    wrong = {"Authorization": f"Bearer {secrets.token_hex(32)}"}
    assert httpx.get(url, headers=wrong, trust_env=False, timeout=30).status_code == 403


def test_a_serve_document_is_refused_unless_it_is_the_mounted_one(deployed: ProxiedRay) -> None:
    later = copy.deepcopy(deployed.document)
    later["applications"].append(application("two"))
    refused = deployed.proxy.put(APPLICATIONS, json=later)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_the_mounted_document")
    assert "two" not in deployed.applications()
    # Without another request: the proxy itself applies the requested document.
    deployed.mount(later)
    eventually(lambda: deployed.running("two"), "the second application runs")


def test_the_token_is_never_disclosed(deployed: ProxiedRay) -> None:
    deployed.proxy.get("/api/jobs/", headers={"Authorization": "Bearer planted-by-the-caller"})
    told = deployed.log.read_text()
    assert "'/api/jobs/' from 127.0.0.1: 403" in told
    assert deployed.token not in told
    assert "planted-by-the-caller" not in told
    assert {json.loads(line)["component"] for line in told.splitlines()} == {"door"}
    for target in (KUBERAYS_READ, APPLICATIONS, "/api/gcs_healthz", "/healthz", "/none"):
        answer = deployed.proxy.get(target)
        assert deployed.token not in answer.text + str(answer.headers)


def test_ray_logs_in_the_format_of_serve(deployed: ProxiedRay) -> None:
    """As docs/how-to/troubleshoot.md describes for Ray's C++ processes."""
    folder = Path(deployed.inputs["temp"]) / "ray" / "session_latest" / "logs"
    files = [*folder.glob("python-core-worker-*.log"), folder / "raylet.out", folder / "gcs_server.out"]
    assert len(files) > 3
    for file in files:
        written = [json.loads(line) for line in file.read_text().rpartition("\n")[0].splitlines()]
        assert all(line.keys() >= {"asctime", "levelname", "message", "filename", "lineno"} for line in written), file


def addresses(session: Session) -> list[str]:
    """Returns HOST:PORT of every socket this Ray listens on."""
    members = {p.pid for p in session.members()}
    found = {c.laddr for c in psutil.net_connections("tcp") if c.pid in members and c.status == psutil.CONN_LISTEN}
    return sorted(
        {f"{NODE if a.ip in ('::', '0.0.0.0') else f'[{a.ip}]' if ':' in a.ip else a.ip}:{a.port}" for a in found}
    )


def plan(ray: ProxiedRay, marker: Path, token: str | None) -> Plan:
    base = RayPorts(int(ray.session.spec["base"]))
    proxy = ray.proxy.base_url.netloc.decode()
    documents = ['{"applications": []}', ray.mounted.read_text()]
    client = f"{NODE}:{base.client_server}"
    return Plan(addresses(ray.session), ray.gcs, client, proxy, documents, str(marker), token)


def test_ray_refuses_clients_without_the_token(deployed: ProxiedRay, tmp_path: Path) -> None:
    reports = {
        who: attack(plan(deployed, tmp_path / who, token))
        for who, token in (("stranger", None), ("liar", secrets.token_hex(32)), ("friend", deployed.token))
    }
    # The same attacks succeed with the token, so it is the token that they are refused for.
    friend = reports.pop("friend")
    opened = {a for a in friend.pickles if (tmp_path / f"friend-{a.rpartition(':')[2]}").exists()}
    assert opened
    assert {url.partition("/")[2] for url in friend.taken} == {"api/jobs/", "api/job_agent/jobs/"}
    assert (friend.gcs, friend.client) == ("", "OK")
    assert friend.documents == [403, 200]
    for who, report in reports.items():
        assert len(report.reached) > 10
        assert not list(tmp_path.glob(f"{who}-*"))
        assert {report.pickles[a] for a in opened} == {"UNAUTHENTICATED"}
        assert report.taken == []
        assert {report.jobs[url] for url in friend.taken} == {401 if who == "stranger" else 403}
        assert "unauthenticated" in report.gcs.lower()
        assert report.client == "UNAUTHENTICATED"
        assert report.documents == [403, 200]
