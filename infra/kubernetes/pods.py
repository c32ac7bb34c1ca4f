"""Explains from a pod's status, in one line, why the pod is not running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]

PULL_ERRORS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)
START_ERRORS = frozenset(
    {"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)
MAX_MESSAGE_CHARACTERS = 300
"""Longest quote of a message."""


def pull_error(pod: Document) -> str:
    """Returns why an image of the pod cannot be pulled; empty if no pull has failed."""
    for container, waiting in _waiting_containers(pod):
        if waiting.get("reason") in PULL_ERRORS:
            return f"cannot pull {container['image']}: {_short_message(waiting)}"
    return ""


def stuck_reason(pod: Document) -> str:
    """Returns why the pod cannot start; empty if it starts normally."""
    if why := pull_error(pod):
        return why
    for container, waiting in _waiting_containers(pod):
        if waiting.get("reason") in START_ERRORS:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            exit_code = f"; it ended with {ended['exitCode']}" if "exitCode" in ended else ""
            return f"container {container['name']} does not run: {_short_message(waiting)}{exit_code}"
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            return f"it cannot be scheduled: {_short_message(condition)}"
    return ""


def images_pulled(pod: Document) -> bool:
    """Returns whether all images of the pod are on its node, even if containers failed."""
    found = list(_container_statuses(pod))
    return bool(found) and all(
        (s.get("state") or {}).keys() & {"running", "terminated"}
        or ((s.get("state") or {}).get("waiting") or {}).get("reason") in START_ERRORS
        for s in found
    )


def is_ready(pod: Document) -> bool:
    """Returns whether the pod is ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


def _container_statuses(pod: Document) -> Iterator[Document]:
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(kind) or ()


def _waiting_containers(pod: Document) -> Iterator[tuple[Document, Document]]:
    for status in _container_statuses(pod):
        if waiting := (status.get("state") or {}).get("waiting"):
            yield status, waiting


def _short_message(condition: Document) -> str:
    """Returns the message, or the reason if there is none."""
    message = " ".join(str(condition.get("message") or condition.get("reason") or "no reason is given").split())
    return message if len(message) <= MAX_MESSAGE_CHARACTERS else f"{message[:MAX_MESSAGE_CHARACTERS]} ..."
