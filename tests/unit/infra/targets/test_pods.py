from typing import Any

import pytest

from infra.kubernetes import pods


def pod(*statuses: dict[str, Any], conditions: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    return {"status": {"containerStatuses": list(statuses), "conditions": list(conditions)}}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i:1", "state": {"waiting": {"reason": reason, "message": message}}, **more}


RUNNING = {"name": "c", "image": "i:1", "state": {"running": {}}}


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"]
)
def test_an_image_that_cannot_be_pulled(reason: str) -> None:
    there = pod(RUNNING, waiting(reason, "no such\n host"))
    assert pods.pull_error(there) == pods.stuck_reason(there) == "cannot pull i:1: no such host"
    assert not pods.images_pulled(there)


def test_an_init_container_counts() -> None:
    there = {"status": {"initContainerStatuses": [waiting("ErrImagePull", "gone")]}}
    assert pods.pull_error(there) == "cannot pull i:1: gone"


def test_crash_loops_are_explained() -> None:
    there = pod(waiting("CrashLoopBackOff", "back-off 10s", lastState={"terminated": {"exitCode": 3}}))
    assert pods.stuck_reason(there) == "container c does not run: back-off 10s; it ended with 3"
    assert pods.images_pulled(there)


def test_a_pod_that_no_node_takes() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes: Insufficient cpu"}
    assert pods.stuck_reason(pod(conditions=(condition,))) == "it cannot be scheduled: 0/2 nodes: Insufficient cpu"


@pytest.mark.parametrize("there", [{}, pod(), pod(RUNNING), pod(waiting("ContainerCreating")), {"status": {}}])
def test_a_pod_that_gets_on(there: dict[str, Any]) -> None:
    assert pods.stuck_reason(there) == ""


def test_a_pod_without_containers_has_pulled_nothing() -> None:
    assert not pods.images_pulled({})
    assert not pods.images_pulled(pod(waiting("ContainerCreating")))
    assert pods.images_pulled(pod(RUNNING))


def test_a_long_message_is_cut() -> None:
    assert len(pods.stuck_reason(pod(waiting("ErrImagePull", "x" * 1000)))) < 400
