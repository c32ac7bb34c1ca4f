"""Replicas are counted by Serve's controller, rarely, and never while an answer is awaited."""

from __future__ import annotations

import asyncio
import threading

import pytest
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ReplicaState,
    ServeStatus,
)

from serving import app
from serving.engines import ready_replicas
from serving.engines.ready_replicas import ReadyReplicas


def application(**states: int) -> ApplicationStatusOverview:
    deployment = DeploymentStatusOverview(
        status=DeploymentStatus.HEALTHY,
        status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
        replica_states={ReplicaState(state).value: number for state, number in states.items()},  # type: ignore[misc]
        message="",
    )
    return ApplicationStatusOverview(ApplicationStatus.RUNNING, "", 0.0, {"Model": deployment})


def test_replicas_that_start_or_stop_are_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ServeStatus(
        applications={"model-a": application(RUNNING=2, STARTING=1), "model-b": application(STOPPING=1)}
    )
    monkeypatch.setattr(app.serve, "status", lambda: found)
    assert app.running_replicas() == {"model-a": 2, "model-b": 0}


async def test_counts_are_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    replicas, asked = ReadyReplicas(), []
    assert await replicas.counts() is None

    def count() -> dict[str, int]:
        asked.append(1)
        return {"model-a": len(asked)}

    replicas.count_by(count)
    assert [await replicas.counts() for _ in range(2)] == [{"model-a": 1}] * 2
    monkeypatch.setattr(ready_replicas, "KEPT_S", -1.0)
    assert await replicas.counts() == {"model-a": 2}


async def test_a_controller_that_fails_or_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_replicas, "KEPT_S", -1.0)
    monkeypatch.setattr(ready_replicas, "TIMEOUT_S", 0.01)
    replicas, go_on, asked = ReadyReplicas(), threading.Event(), []

    def fail() -> dict[str, int]:
        raise RuntimeError("no controller")

    def hang() -> dict[str, int]:
        asked.append(1)
        go_on.wait()
        return {}

    replicas.count_by(fail)
    assert await replicas.counts() is None
    replicas.count_by(hang)
    assert [await replicas.counts() for _ in range(3)] == [None] * 3
    assert asked == [1], "it is asked again before it has answered"
    go_on.set()
    monkeypatch.setattr(ready_replicas, "TIMEOUT_S", 60.0)
    async with asyncio.timeout(60):
        assert await replicas.counts() == {}
