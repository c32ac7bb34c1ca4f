"""A machine that shuts down half-way: Serve's actors are stored as alive on a node that is stored as dead.

The Ray of tests that need no whole stack has been through it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import aiohttp
import httpx
import psutil

from serving import door, stranded
from tests.wait import eventually
from tests.wall import KUBERAYS_READ, Wall, deploy, walled_ray

# Ray's own hook for tests: what follows from a node's end for its actors is put off by an hour.
HALF_WAY = {"RAY_testing_asio_delay_us": "NodeManager.RemoveNodeCallback=3600000000:3600000000"}


@dataclass(frozen=True)
class Recovered:
    """A Ray whose Serve was stranded, and what KubeRay was told by the door before and after that was mended."""

    wall: Wall
    before: httpx.Response
    after: httpx.Response


@contextmanager
def recovered(storage: Path) -> Iterator[Recovered]:
    """Serve with an application, after a restart of all of Ray that came between a node's end and its actors'.

    `storage` is an empty folder for Ray's control state.
    """
    kept = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(storage)}
    with walled_ray(kept | HALF_WAY) as wall:
        deploy(wall)
        ours = {member.pid for member in wall.session.members()}
        [raylet] = [p for p in psutil.process_iter(["name"]) if p.pid in ours and p.info["name"] == "raylet"]
        raylet.terminate()
        raylet.wait(60)
        wall.restart(kept)
        before = wall.door.get(KUBERAYS_READ)
        asyncio.run(_mend(wall))
        # For KubeRay no application is a reason to deploy the document again.
        eventually(lambda: _applications(wall) == {}, "Serve has no controller")
        after = wall.door.get(KUBERAYS_READ)
        deploy(wall)
        yield Recovered(wall, before, after)


def _applications(wall: Wall) -> object:
    return wall.door.get(KUBERAYS_READ).json().get("applications")


async def _mend(wall: Wall) -> None:
    """Looks as the door does, twice, with its patience between."""
    settings = door.Settings(wall.dashboard, wall.token_file, wall.mounted)
    async with aiohttp.ClientSession() as session:
        watch = stranded.Watch(door.Door(settings, session).ask, count(step=stranded.GRACE_S).__next__)
        await watch.look()
        await watch.look()
