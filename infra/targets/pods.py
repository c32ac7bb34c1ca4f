"""Why a pod is stuck, in one line; from its status alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]

NOT_PULLED = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)
NOT_STARTED = frozenset(
    {"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)
SHOWN = 300
"""Characters of a message that are repeated."""


def not_pulled(pod: Document) -> str:
    """Why an image of the pod cannot be pulled; empty when nothing says so."""
    for container, waiting in _waiting(pod):
        if waiting.get("reason") in NOT_PULLED:
            return f"cannot pull {container['image']}: {_text(waiting)}"
    return ""


def stuck(pod: Document) -> str:
    """What keeps a pod from getting on; empty when it does."""
    if why := not_pulled(pod):
        return why
    for container, waiting in _waiting(pod):
        if waiting.get("reason") in NOT_STARTED:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            how = f"; it ended with {ended['exitCode']}" if "exitCode" in ended else ""
            return f"container {container['name']} does not run: {_text(waiting)}{how}"
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            return f"no node takes it: {_text(condition)}"
    return ""


def pulled(pod: Document) -> bool:
    """True when every image of the pod is on its node, whatever became of the containers."""
    found = list(_statuses(pod))
    return bool(found) and all(
        (s.get("state") or {}).keys() & {"running", "terminated"}
        or ((s.get("state") or {}).get("waiting") or {}).get("reason") in NOT_STARTED
        for s in found
    )


def ready(pod: Document) -> bool:
    """True when all of its containers say that they can be asked."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


def _statuses(pod: Document) -> Iterator[Document]:
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(kind) or ()


def _waiting(pod: Document) -> Iterator[tuple[Document, Document]]:
    for status in _statuses(pod):
        if waiting := (status.get("state") or {}).get("waiting"):
            yield status, waiting


def _text(said: Document) -> str:
    """The message, or the reason where there is none."""
    message = " ".join(str(said.get("message") or said.get("reason") or "no reason is given").split())
    return message if len(message) <= SHOWN else f"{message[:SHOWN]} ..."
