"""Approvals that a request contains, and those that its answer asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from serving.assistants.tools.tool import PendingCall
from serving.core.principal import Principal
from serving.engines.router import Route
from serving.inference.conversation_context import ConversationContext
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import ApiError, invalid
from serving.retrieval.types import Hit
from serving.security.approvals import Approval, ApprovalError, Approvals
from serving.security.audit import AuditLog
from serving.store.audit import MAX_DETAIL
from serving.store.used_approvals import UsedApprovals

_OWN_WORDS = frozenset(("calculator", "python", "time"))
"""Tools whose output never contains text from others."""


class GivenApprovals:
    """Checks the approvals in a request; raises an `ApiError` that names the invalid one and the reason.

    An approval is used immediately before the call that it allows: until then the request can be repeated with it. If
    something fails between the two, no call is made, and another approval is needed.
    """

    def __init__(
        self, approvals: Approvals, used: UsedApprovals, caller: Principal, route: Route, given: Sequence[str]
    ) -> None:
        self._approvals = approvals
        self._used = used
        self._caller = caller
        self._assistant = route.assistant.name if route.assistant is not None else ""
        # By signature: an approval that occurs twice allows one call.
        self._given: dict[str, tuple[int, Approval]] = {}
        for i, id in enumerate(given):
            approval = self._verify(i, id)
            self._given.setdefault(approval.id, (i, approval))
        self._left = [approval for _, approval in self._given.values()]

    @property
    def approved(self) -> list[tuple[str, str]]:
        """Names of tools and digests of arguments; each allows one call."""
        return [(approval.tool, approval.digest) for _, approval in self._given.values()]

    def _verify(self, i: int, id: str) -> Approval:
        try:
            return self._approvals.read(id, self._caller, self._assistant)
        except ApprovalError as e:
            raise _refused(i, str(e), e.code) from None

    async def record(self, audit: AuditLog, request_id: str) -> None:
        """Records the approved calls before any of them is made. Raises `ApiError` for an approval that was used
        before.
        """
        if not self._given:
            return
        if used := await self._used.among(self._given):
            raise _used(min(self._given[id][0] for id in used))
        for tool, _ in self.approved:
            detail = {"assistant": self._assistant[:MAX_DETAIL], "tool": tool[:MAX_DETAIL]}
            await audit.record(self._caller, "tool.approve", detail=detail, request_id=request_id)

    async def use(self, tool: str, digest: str) -> None:
        """Uses the approval of the next call. Raises `ApiError` if another request has used it."""
        approval = next(one for one in self._left if (one.tool, one.digest) == (tool, digest))
        self._left.remove(approval)
        if not await self._used.use(self._caller, approval.id, approval.expires_at):
            raise _used(self._given[approval.id][0])

    def offers(self, calls: Sequence[PendingCall]) -> list[dict[str, Any]]:
        """Returns the fields that let the caller approve each of `calls`."""
        found = []
        for call in calls:
            id, expires_at = self._approvals.offer(self._caller, self._assistant, call.tool, call.digest)
            found.append({"id": id, "tool": call.tool, "arguments": call.arguments, "expires_at": expires_at})
        return found


def _refused(i: int, why: str, code: str) -> ApiError:
    at = f"approvals[{i}]"
    return invalid(f"{at} {why}.", at, code)


def _used(i: int) -> ApiError:
    return _refused(i, "was used already, and allows only one call: ask again", "used_approval")


def taint(
    route: Route,
    names: Sequence[str],
    body: ChatRequest,
    hits: Sequence[Hit] | None,
    turn: ConversationContext | None,
    *,
    foreign: bool = False,
) -> Callable[[], bool]:
    """Returns a function that tells, once memory is in the prompt, whether the prompt contains text from others.

    Everything that the caller did not type as text may be from others: attachments, results of the caller's tools, and
    answers of an assistant that reads text from others. `foreign` tells that its instructions are from others.
    """
    reads = route.reads or body.knowledge is not None or not _OWN_WORDS.issuperset(names)
    said = foreign or any(m.role == "tool" or (m.role == "assistant" and reads) or m.attaches for m in body.messages)

    def tainted() -> bool:
        # Turns that were deleted after the summary was read are not counted.
        recalled = turn is not None and (turn.noted or any(n for name, n in turn.report.items() if name != "left_out"))
        return said or bool(hits) or (recalled and reads)

    return tainted
