"""Why a pod is stuck, in one line; from its status alone."""

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
"""Characters of a message that are repeated."""


def pull_error(pod: Document) -> str:
    """Why an image of the pod cannot be pulled; empty when nothing says so."""
    for container, waiting in _waiting_containers(pod):
        if waiting.get("reason") in PULL_ERRORS:
            return f"cannot pull {container['image']}: {_short_message(waiting)}"
    return ""


def stuck_reason(pod: Document) -> str:
    """What keeps a pod from getting on; empty when it does."""
    if why := pull_error(pod):
        return why
    for container, waiting in _waiting_containers(pod):
        if waiting.get("reason") in START_ERRORS:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            how = f"; it ended with {ended['exitCode']}" if "exitCode" in ended else ""
            return f"container {container['name']} does not run: {_short_message(waiting)}{how}"
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            return f"no node takes it: {_short_message(condition)}"
    return ""


def images_pulled(pod: Document) -> bool:
    """True when every image of the pod is on its node, whatever became of the containers."""
    found = list(_container_statuses(pod))
    return bool(found) and all(
        (s.get("state") or {}).keys() & {"running", "terminated"}
        or ((s.get("state") or {}).get("waiting") or {}).get("reason") in START_ERRORS
        for s in found
    )


def is_ready(pod: Document) -> bool:
    """True when all of its containers say that they can be asked."""
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


def _short_message(said: Document) -> str:
    """The message, or the reason where there is none."""
    message = " ".join(str(said.get("message") or said.get("reason") or "no reason is given").split())
    return message if len(message) <= MAX_MESSAGE_CHARACTERS else f"{message[:MAX_MESSAGE_CHARACTERS]} ..."
