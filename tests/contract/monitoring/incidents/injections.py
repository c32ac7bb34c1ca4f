"""How each incident is injected. Nobody is told: a disk, a provider, a person or a tenant begins to act otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from tests.contract.monitoring.incidents.incident import FLOODING, SLOW
from tests.contract.monitoring.incidents.scene import BUDGET, KEY, Scene
from tests.contract.monitoring.incidents.stack import ALIAS, BRIEF, CANARY, METERED, STEADY, TWINS

Injection = Callable[[Scene, asyncio.Event], Coroutine[Any, Any, None]]
"""Makes an incident, lets it last until the event is set, and repairs what it did."""
FLUSH_MS = 300
SLOW_S = 2.0
"""How long the slow replica takes for an answer."""
LIMIT = 2
"""Requests in ten seconds that the provider allows once it throttles; the usual traffic has some ten."""
CONNECTIONS = 60
SUSPICIOUS = 10
"""Evidence above which the canary's alert fires; at 100 it is rolled back."""


async def slow_disk(scene: Scene, over: asyncio.Event) -> None:
    scene.slow_disk.write_text(str(FLUSH_MS))
    await over.wait()
    scene.slow_disk.unlink()


async def slow_replica(scene: Scene, over: asyncio.Event) -> None:
    delays = scene.twins[SLOW].delays
    delays[TWINS] = SLOW_S
    await over.wait()
    del delays[TWINS]


async def flood(scene: Scene, over: asyncio.Event) -> None:
    scene.provider.delays[STEADY] = 0.3  # its usual pace is too fast for a queue on a small host

    async def send(connection: int) -> None:
        while not over.is_set():
            await scene.ask(scene.callers[FLOODING], STEADY, connection % 2)

    await asyncio.gather(*(send(connection) for connection in range(CONNECTIONS)))
    del scene.provider.delays[STEADY]


async def truncation(scene: Scene, over: asyncio.Event) -> None:
    scene.provider.truncating.add(BRIEF)
    await over.wait()
    scene.provider.truncating.remove(BRIEF)


async def worse_canary(scene: Scene, over: asyncio.Event) -> None:
    scene.provider.truncating.add(CANARY)
    body = {"alias": ALIAS, "target": CANARY, "share": 0.5}
    release = await asyncio.to_thread(scene.call, "POST", "/v1/hub/releases", json=body)
    path = f"/v1/hub/releases/{release['id']}"
    asked = 0
    while not over.is_set():
        found = await asyncio.to_thread(scene.call, "GET", path)
        if found["evidence"]["harm"] > SUSPICIOUS:
            await over.wait()
        elif sum(found["outcomes"]["requests"][side]["seen"] for side in ("canary", "base")) == asked:
            await scene.ask(scene.callers["calm"], ALIAS)  # one by one: the next ones could roll it back
            asked += 1
        await asyncio.sleep(0.2)
    await asyncio.to_thread(scene.call, "POST", f"{path}/rollback", json={})
    scene.provider.truncating.remove(CANARY)


async def throttling(scene: Scene, over: asyncio.Event) -> None:
    scene.provider.limits[METERED] = LIMIT
    await over.wait()
    del scene.provider.limits[METERED]


async def nothing_found(scene: Scene, over: asyncio.Event) -> None:
    path = f"/v1/vector_stores/{scene.store}/files"
    await asyncio.to_thread(scene.call, "DELETE", f"{path}/{scene.book}")
    await over.wait()
    await asyncio.to_thread(scene.call, "POST", path, json={"file_id": scene.book})


async def expired_key(scene: Scene, over: asyncio.Event) -> None:
    scene.provider.expired.add(KEY)
    await over.wait()
    scene.provider.expired.remove(KEY)


async def full_queue(scene: Scene, over: asyncio.Event) -> None:
    going_on = scene.provider.hanging[STEADY] = asyncio.Event()
    asking = []
    while not over.is_set():
        asking += [asyncio.create_task(scene.ask(scene.callers[tenant], STEADY)) for tenant in ("calm", "quiet")]
        await asyncio.sleep(0.2)
    del scene.provider.hanging[STEADY]
    going_on.set()
    await asyncio.gather(*asking)


async def budget(scene: Scene, over: asyncio.Event) -> None:
    for _ in range(BUDGET - 2):  # one was sent before
        await scene.ask(scene.spender, STEADY)
    await over.wait()


INJECTIONS: Mapping[str, Injection] = {
    "slow disk": slow_disk,
    "one slow replica": slow_replica,
    "a tenant that floods": flood,
    "a model that truncates": truncation,
    "a canary that is worse": worse_canary,
    "a provider that throttles": throttling,
    "retrieval that finds nothing": nothing_found,
    "an expired key of a remote model": expired_key,
    "a full queue": full_queue,
    "a budget nearly used up": budget,
}
"""By the name of the incident."""
