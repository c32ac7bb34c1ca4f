"""Actors that Ray counts as alive on a node that it counts as dead: found, and ended.

Ray's control process (2.60) stores a node's end in one thread and what follows for the node's actors in another. When a
machine shuts down, both that process and the node are told to end at once, so that the second may never happen. With
control state on a volume the next head reads it back: Serve's controller is alive on a node that is gone, every call
to it waits, and nothing starts another. Ray never looks at such an actor again; `ray.kill` makes it a dead one.

The door, which has no Ray in it, looks by Ray's state API and has a job of Ray's, which is this program, end what it
saw. Then Serve has no controller, KubeRay reads that there are no applications and deploys the document again.
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
"""Where Ray's state API lists the cluster's nodes."""

ACTORS = "/api/v0/actors?limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
"""Where it lists the actors that are alive."""

JOBS = "/api/jobs/"

ASK_S = 10
JOB_S = 60
"""A job is taken once its supervisor runs, for which a busy head takes its time."""

POLL_S = 10.0

GRACE_S = 30.0
"""So long an actor must have been seen so: between a node's end and that of its actors there is always a moment."""

LONGEST_PAUSE_S = 1800.0
"""Jobs that change nothing follow each other ever more slowly."""

log = logging.getLogger("headrace.door")

Ask = Callable[[str, str, float, bytes | None], Awaitable[bytes]]
"""Asks Ray's dashboard: method, target, seconds, body. Raises `Unanswered`."""


class Unanswered(Exception):
    """Ray's dashboard gave no answer, or refused."""


@dataclass(frozen=True, order=True)
class Actor:
    """A named actor; without a name Ray lets nobody end it."""

    id: str
    name: str
    namespace: str


def stranded(nodes: Iterable[Mapping[str, Any]], actors: Iterable[Mapping[str, Any]]) -> frozenset[Actor]:
    """Returns the named actors that are alive on dead nodes, of what Ray's state API lists.

    A node that is not listed is none that is dead. Raises `KeyError` or `TypeError` for what is no such list.
    """
    dead = {node["node_id"] for node in nodes if node["state"] == "DEAD"}
    return frozenset(
        Actor(actor["actor_id"], actor["name"], actor["ray_namespace"])
        for actor in actors
        if actor["state"] == "ALIVE" and actor["name"] and actor["node_id"] in dead
    )


class Watch:
    """Looks for stranded actors again and again, and has those ended that have been so for `GRACE_S`."""

    def __init__(self, ask: Ask, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._since: dict[Actor, float] = {}
        self._pause = GRACE_S
        self._said = ""

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.look()
                self._said = ""
            except Unanswered as e:
                if str(e) != self._said:  # while Ray starts it is so for a moment, and for ever where it has changed
                    log.warning("cannot look for actors on dead nodes: %s", e)
                    self._said = str(e)
            except Exception:
                log.exception("cannot look for actors on dead nodes")

    async def look(self) -> None:
        """Looks once. Raises `Unanswered`."""
        # Nodes first: an actor that is alive now may be on a node that dies between the two.
        nodes = _listed(await self._ask("GET", NODES, ASK_S, None))
        found = stranded(nodes, _listed(await self._ask("GET", ACTORS, ASK_S, None)))
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
        log.warning("alive on dead nodes, to be ended: %s", ", ".join(actor.name for actor in actors))
        # The head's container has the same image, so the same Python.
        entrypoint = shlex.join([sys.executable, "-m", "serving.stranded", *(actor.id for actor in actors)])
        try:
            answer = await self._ask("POST", JOBS, JOB_S, json.dumps({"entrypoint": entrypoint}).encode())
        except Unanswered as e:
            log.warning("Ray takes no job that ends them: %s", e)
        else:
            log.info("Ray's job that ends them: %.200s", answer.decode(errors="replace"))


def _listed(answer: bytes) -> list[dict[str, Any]]:
    try:
        return list(json.loads(answer)["data"]["result"]["result"])
    except (ValueError, KeyError, TypeError):
        raise Unanswered("Ray's state API answered with something else") from None


def end(ids: frozenset[str]) -> list[Actor]:
    """Ends those of the actors `ids` that are still stranded, in the Ray that this process runs in.

    Returns those that it has ended.
    """
    # Here alone: the door does without the hundred megabytes.
    import ray
    from ray.util.state import list_actors, list_nodes

    ray.init(address="auto", log_to_driver=False)
    nodes = [{"node_id": node.node_id, "state": node.state} for node in list_nodes(limit=10_000)]
    alive = [
        {key: getattr(actor, key) for key in ("actor_id", "name", "ray_namespace", "node_id", "state")}
        for actor in list_actors(filters=[("state", "=", "ALIVE")], limit=10_000)
    ]
    ended = []
    for actor in sorted(actor for actor in stranded(nodes, alive) if actor.id in ids):
        try:
            handle = ray.get_actor(actor.name, namespace=actor.namespace)
        except ValueError:
            continue  # it has ended by itself
        if handle._actor_id.hex() != actor.id:
            continue  # and another one has its name
        # With a restart Ray would wait for a word of the dead node.
        ray.kill(handle, no_restart=True)
        ended.append(actor)
    return ended


def main(argv: list[str] | None = None) -> int:
    """Ends actors by their ids, in a job of Ray's."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.stranded", description="ends actors that are alive on dead nodes"
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="actor to end, if it is still so")
    for actor in end(frozenset(parser.parse_args(argv).ids)):
        print(f"ended {actor.name} ({actor.id})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
