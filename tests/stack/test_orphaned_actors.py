"""A machine that shuts down half-way: Serve's actors are stored as alive on a node that is stored as dead."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import aiohttp
import psutil
import pytest

from serving import dashboard_proxy, orphaned_actors
from tests.ray_isolation.proxied_ray import KUBERAYS_READ, ProxiedRay, deploy, proxied_ray
from tests.wait import eventually

# Ray's own hook for tests: what follows from a node's end for its actors is put off by an hour.
HALF_WAY = {"RAY_testing_asio_delay_us": "NodeManager.RemoveNodeCallback=3600000000:3600000000"}


@pytest.fixture
def half_ended(tmp_path: Path) -> Iterator[ProxiedRay]:
    """Serve with an application, after a restart of all of Ray that came between the two."""
    storage = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(tmp_path / "gcs")}
    (tmp_path / "gcs").mkdir()
    with proxied_ray(storage | HALF_WAY) as ray:
        deploy(ray)
        ours = {member.pid for member in ray.session.members()}
        [raylet] = [p for p in psutil.process_iter(["name"]) if p.pid in ours and p.info["name"] == "raylet"]
        raylet.terminate()
        raylet.wait(60)
        ray.restart(storage)
        yield ray


@pytest.mark.soak  # tests/unit/test_orphaned_actors.py proves each time what is found and ended
async def test_serve_restarts_after_orphaned_actors_are_ended(half_ended: ProxiedRay) -> None:
    silent = half_ended.proxy.get(KUBERAYS_READ)
    assert (silent.status_code, silent.json()["error"]["code"]) == (503, "ray_silent")
    settings = dashboard_proxy.Settings(half_ended.dashboard, half_ended.token_file, half_ended.mounted)
    async with aiohttp.ClientSession() as session:
        watch = orphaned_actors.Watch(
            dashboard_proxy.DashboardProxy(settings, session).ask, count(step=orphaned_actors.GRACE_S).__next__
        )
        await watch.look()
        await watch.look()
    # KubeRay deploys the document again when there is no application.
    eventually(lambda: half_ended.proxy.get(KUBERAYS_READ).json().get("applications") == {}, "Serve has no controller")
    deploy(half_ended)
