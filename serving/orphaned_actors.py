"""Orphaned actors: Ray considers them alive, although their node is dead. They are found and killed here.

Ray's control process (2.60) stores a node's end in one thread and the consequences for the node's actors in another.
When a machine shuts down, both that process and the node are terminated, so that the second may never happen. With
control state on a volume the next head restores it: Serve's controller is alive on a node that is gone, every call to
it waits, and nothing starts another. Ray never checks such an actor again; `ray.kill` marks it as dead.

The dashboard proxy, which does not import Ray, finds them with Ray's state API, and submits this program as a Ray job
that kills them. Then Serve has no controller, KubeRay sees that there are no applications, and deploys the document
again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NODES = "/api/v0/nodes?limit=10000"
"""Path of the list of the cluster's nodes in Ray's state API."""

ACTORS = "/api/v0/actors?limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
"""Path of the list of live actors."""

JOBS = "/api/jobs/"

ASK_S = 10
JOB_S = 60
"""A job is accepted once its supervisor runs, which takes a while on a busy head."""

POLL_S = 10.0

GRACE_S = 30.0
"""How long an actor must be orphaned: normally there is a moment between a node's end and that of its actors."""

LONGEST_PAUSE_S = 1800.0
"""Maximum interval between jobs without effect, which doubles each time."""

log = logging.getLogger("headrace.dashboard_proxy")

Ask = Callable[[str, str, float, bytes | None], Awaitable[bytes]]
"""Sends a request to Ray's dashboard: method, target, seconds, body. Raises `Unanswered`."""


class Unanswered(Exception):
    """Ray's dashboard did not answer, or rejected the request."""


@dataclass(frozen=True, order=True)
class Actor:
    """A named actor; Ray has no way to kill one without a name."""

    id: str
    name: str
    namespace: str


def find_orphaned(nodes: Iterable[Mapping[str, Any]], actors: Iterable[Mapping[str, Any]]) -> frozenset[Actor]:
    """Returns the named actors that are alive on dead nodes, given lists of Ray's state API.

    Unlisted nodes do not count as dead. Raises `KeyError` or `TypeError` for invalid lists.
    """
    dead = {node["node_id"] for node in nodes if node["state"] == "DEAD"}
    return frozenset(
        Actor(actor["actor_id"], actor["name"], actor["ray_namespace"])
        for actor in actors
        if actor["state"] == "ALIVE" and actor["name"] and actor["node_id"] in dead
    )


class Watch:
    """Polls for orphaned actors, and has those killed that have been orphaned for `GRACE_S`."""

    def __init__(self, ask: Ask, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._since: dict[Actor, float] = {}
        self._pause = GRACE_S
        self._said = ""

    async def run(self) -> None:
        """Polls until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.look()
                self._said = ""
            except Unanswered as e:
                if str(e) != self._said:  # brief while Ray starts, permanent if its API has changed
                    log.warning("cannot look for actors on dead nodes: %s", e)
                    self._said = str(e)
            except Exception:
                log.exception("cannot look for actors on dead nodes")

    async def look(self) -> None:
        """Checks once. Raises `Unanswered`."""
        # Nodes first: a live actor may be on a node that dies between the two requests.
        nodes = _listed(await self._ask("GET", NODES, ASK_S, None))
        found = find_orphaned(nodes, _listed(await self._ask("GET", ACTORS, ASK_S, None)))
        now = self._clock()
        self._since = {actor: self._since.get(actor, now) for actor in found}
        if not found:
            self._pause = GRACE_S
        ripe = sorted(actor for actor, since in self._since.items() if now - since >= self._pause)
        if ripe:
            await self._end(ripe)
            self._since = {}
            self._pause = min(self._pause * 2, LONGEST_PAUSE_S)

    async def _end(self, actors: list[Actor]) -> None:
        log.warning("alive on dead nodes, to be killed: %s", ", ".join(actor.name for actor in actors))
        # The head's container has the same image, and so the same Python.
        entrypoint = shlex.join([sys.executable, "-m", "serving.orphaned_actors", *(actor.id for actor in actors)])
        try:
            answer = await self._ask("POST", JOBS, JOB_S, json.dumps({"entrypoint": entrypoint}).encode())
        except Unanswered as e:
            log.warning("Ray does not accept the job that kills them: %s", e)
        else:
            log.info("Ray's job that kills them: %.200s", answer.decode(errors="replace"))


def _listed(answer: bytes) -> list[dict[str, Any]]:
    try:
        return list(json.loads(answer)["data"]["result"]["result"])
    except (ValueError, KeyError, TypeError):
        raise Unanswered("the answer of Ray's state API is not a list") from None


def end(ids: frozenset[str]) -> list[Actor]:
    """Kills those of the actors `ids` that are still orphaned, in the Ray cluster of this process.

    Returns the killed ones.
    """
    # Imported only here: the dashboard proxy does not need these hundred megabytes.
    import ray
    from ray.util.state import list_actors, list_nodes

    ray.init(address="auto", log_to_driver=False)
    nodes = [{"node_id": node.node_id, "state": node.state} for node in list_nodes(limit=10_000)]
    alive = [
        {key: getattr(actor, key) for key in ("actor_id", "name", "ray_namespace", "node_id", "state")}
        for actor in list_actors(filters=[("state", "=", "ALIVE")], limit=10_000)
    ]
    ended = []
    for actor in sorted(actor for actor in find_orphaned(nodes, alive) if actor.id in ids):
        try:
            handle = ray.get_actor(actor.name, namespace=actor.namespace)
        except ValueError:
            continue  # it has ended by itself
        if handle._actor_id.hex() != actor.id:
            continue  # another one has its name
        # For a restart, Ray would wait for a message from the dead node.
        ray.kill(handle, no_restart=True)
        ended.append(actor)
    return ended


def main(argv: list[str] | None = None) -> int:
    """Kills actors by id, in a Ray job."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.orphaned_actors", description="kills actors that are alive on dead nodes"
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="actor to kill, if it is still orphaned")
    for actor in end(frozenset(parser.parse_args(argv).ids)):
        print(f"killed {actor.name} ({actor.id})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
