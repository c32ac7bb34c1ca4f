"""Which actors are orphaned, and when they are killed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from serving.orphaned_actors import ACTORS, GRACE_S, JOBS, NODES, Actor, Unanswered, Watch, find_orphaned

HEAD, GONE, WORKER = "1" * 56, "2" * 56, "3" * 56
CONTROLLER = Actor("8d01579616547d7f86292b6701000000", "SERVE_CONTROLLER_ACTOR", "serve")
REPLICA = Actor("f40fb4312a6154cd9e824b4801000000", "SERVE_REPLICA::one#Hello#s7d8lttg", "serve")


def node(id: str, state: str = "ALIVE") -> dict[str, Any]:
    return {"node_id": id, "state": state, "is_head_node": id == HEAD}


def listed(actor: Actor, node_id: str | None, state: str = "ALIVE") -> dict[str, Any]:
    return {
        "actor_id": actor.id,
        "name": actor.name,
        "ray_namespace": actor.namespace,
        "node_id": node_id,
        "state": state,
    }


NODES_NOW = [node(HEAD), node(GONE, "DEAD"), node(WORKER)]


@pytest.mark.parametrize(
    ("actors", "found"),
    [
        ([], set()),
        ([listed(CONTROLLER, GONE), listed(REPLICA, GONE)], {CONTROLLER, REPLICA}),
        ([listed(CONTROLLER, HEAD), listed(REPLICA, GONE)], {REPLICA}),
        ([listed(CONTROLLER, HEAD), listed(REPLICA, WORKER)], set()),
        # What Ray itself is at work on, or has ended.
        ([listed(CONTROLLER, GONE, state) for state in ("RESTARTING", "PENDING_CREATION", "DEAD")], set()),
        # A node that is not listed may be one that is just coming.
        ([listed(CONTROLLER, "4" * 56), listed(CONTROLLER, None)], set()),
        ([listed(Actor(CONTROLLER.id, "", "serve"), GONE)], set()),
    ],
)
def test_named_actors_alive_on_dead_nodes_are_orphaned(actors: list[Mapping[str, Any]], found: set[Actor]) -> None:
    assert find_orphaned(NODES_NOW, actors) == found


class Ray:
    """Answers as Ray's dashboard does."""

    def __init__(self, *actors: dict[str, Any]) -> None:
        self.actors = list(actors)
        self.jobs: list[list[str]] = []
        self.takes_jobs = True

    async def ask(self, method: str, path: str, seconds: float, body: bytes | None) -> bytes:
        if (method, path) == ("POST", JOBS):
            if not self.takes_jobs:
                raise Unanswered("500")
            assert body is not None
            self.jobs.append(shlex.split(json.loads(body)["entrypoint"]))
            return b'{"submission_id": "raysubmit_1"}'
        return json.dumps({"data": {"result": {"result": {NODES: NODES_NOW, ACTORS: self.actors}[path]}}}).encode()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def after(watch: Watch, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    await watch.look()


def job(*actors: Actor) -> list[str]:
    return [sys.executable, "-m", "serving.orphaned_actors", *(actor.id for actor in actors)]


async def test_orphaned_actors_are_killed_by_one_job() -> None:
    ray, clock = Ray(listed(CONTROLLER, GONE), listed(REPLICA, GONE)), Clock()
    watch = Watch(ray.ask, clock)
    await watch.look()
    await after(watch, clock, GRACE_S - 1)
    assert ray.jobs == []
    await after(watch, clock, 1)
    await after(watch, clock, 1)
    assert ray.jobs == [job(CONTROLLER, REPLICA)]


async def test_a_moment_is_not_acted_on() -> None:
    ray, clock = Ray(listed(CONTROLLER, GONE)), Clock()
    watch = Watch(ray.ask, clock)
    await watch.look()
    ray.actors = []
    await after(watch, clock, GRACE_S)
    ray.actors = [listed(CONTROLLER, GONE)]
    await after(watch, clock, GRACE_S)
    assert ray.jobs == []


@pytest.mark.parametrize("takes_jobs", [True, False])
async def test_failed_jobs_are_retried_with_back_off(takes_jobs: bool) -> None:
    ray, clock = Ray(listed(CONTROLLER, GONE)), Clock()
    ray.takes_jobs = takes_jobs
    watch = Watch(ray.ask, clock)
    await watch.look()
    await after(watch, clock, GRACE_S)
    ray.takes_jobs = True
    before = len(ray.jobs)
    await after(watch, clock, 1)
    await after(watch, clock, GRACE_S)
    assert len(ray.jobs) == before
    await after(watch, clock, GRACE_S)
    assert ray.jobs[before:] == [job(CONTROLLER)]


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"data": {"result": null}}', b"<html>"])
async def test_unexpected_answers_are_not_interpreted(answer: bytes) -> None:
    async def ask(*_: object) -> bytes:
        return answer

    with pytest.raises(Unanswered):
        await Watch(ask, Clock()).look()
