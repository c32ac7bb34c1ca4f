"""The ports a stack listens on, and the clients that they refuse."""

from __future__ import annotations

from pathlib import Path

import httpx

from infra.providers.ray_ports import RayPorts
from infra.providers.session import Session
from infra.targets.preflight import SESSION_RECORDS


def test_only_known_ports_listen_beyond_loopback(stack):
    """A port on all interfaces is Ray's and requires the token, or is on the short list with a reason."""
    known = {
        "python": "Ray's client server (`ray.util.client.server`), with Ray's token",
        "gcs_server": "gRPC with Ray's token",
        "raylet": "gRPC with Ray's token",
        "ray::": "gRPC with Ray's token",
        "ray-dashboard": "gRPC with Ray's token",
    }
    members = {m.pid for r in SESSION_RECORDS for m in Session(stack.layout.record(r)).members()}
    inodes = {}
    for pid in members:
        try:
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                link = str(fd.readlink())
                if link.startswith("socket:["):
                    inodes[link[8:-1]] = pid
        except OSError:
            continue
    ours = {int(p) for p in stack.settings()["ports"].values()}
    ray = RayPorts(int(Session(stack.layout.record("ray")).spec["base"]))
    ours |= {ray.metrics, ray.haproxy_metrics, ray.haproxy_stats, ray.autoscaler_metrics, ray.dashboard_metrics}
    beyond = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] != "0A" or fields[9] not in inodes:
                continue
            if address in ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"):
                continue
            try:
                name = Path(f"/proc/{inodes[fields[9]]}/comm").read_text().strip()
            except OSError:  # it has ended since
                continue
            assert int(port, 16) not in ours, f"{name} offers one of our ports beyond loopback"
            beyond.append(name)
    assert beyond
    unknown = [n for n in beyond if not n.startswith(tuple(known))]
    assert unknown == []


def test_serves_routes_are_not_told(stack):
    for path in ("/-/routes", "/-/ROUTES", "/-/rout%65s", "/%2D/routes"):
        answer = httpx.get(f"{stack.url}{path}", timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path


def test_rays_ports_refuse_clients_without_the_token(stack):
    dashboard = stack.settings()["ports"]["dashboard"]
    url = f"http://127.0.0.1:{dashboard}/api/serve/applications/"
    assert httpx.get(url, timeout=30).status_code in (401, 403)
    assert httpx.put(url, json={"applications": []}, timeout=30).status_code in (401, 403)
    wrong = {"Authorization": "Bearer " + "0" * 64}
    assert httpx.put(url, json={"applications": []}, headers=wrong, timeout=30).status_code in (401, 403)
    jobs = f"http://127.0.0.1:{dashboard}/api/jobs/"
    assert httpx.post(jobs, json={"entrypoint": "true"}, timeout=30).status_code in (401, 403)
