"""What a request approves of, and what its answer asks to be approved of."""

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
"""Tools that bring in nothing that others wrote."""


class GivenApprovals:
    """Reads the approvals that a request gives; raises an `ApiError` that says which of them is not valid, and why.

    An approval is used just before the call that it allows: until then the request can be sent again with it. What
    fails between the two makes no call, and needs another approval.
    """

    def __init__(
        self, approvals: Approvals, used: UsedApprovals, caller: Principal, route: Route, given: Sequence[str]
    ) -> None:
        self._approvals = approvals
        self._used = used
        self._caller = caller
        self._assistant = route.assistant.name if route.assistant is not None else ""
        # By what was signed: one that is given twice allows one call.
        self._given: dict[str, tuple[int, Approval]] = {}
        for i, id in enumerate(given):
            approval = self._verify(i, id)
            self._given.setdefault(approval.id, (i, approval))
        self._left = [approval for _, approval in self._given.values()]

    @property
    def approved(self) -> list[tuple[str, str]]:
        """Names of tools and digests of arguments; each stands for one call."""
        return [(approval.tool, approval.digest) for _, approval in self._given.values()]

    def _verify(self, i: int, id: str) -> Approval:
        try:
            return self._approvals.read(id, self._caller, self._assistant)
        except ApprovalError as e:
            raise _refused(i, str(e), e.code) from None

    async def record(self, audit: AuditLog, request_id: str) -> None:
        """Puts what is approved of on record, before any of it is done. Raises `ApiError` for what was used before."""
        if not self._given:
            return
        if used := await self._used.among(self._given):
            raise _used(min(self._given[id][0] for id in used))
        for tool, _ in self.approved:
            detail = {"assistant": self._assistant[:MAX_DETAIL], "tool": tool[:MAX_DETAIL]}
            await audit.record(self._caller, "tool.approve", detail=detail, request_id=request_id)

    async def use(self, tool: str, digest: str) -> None:
        """Uses what allows the call that is made next. Raises `ApiError` where another request was quicker."""
        approval = next(one for one in self._left if (one.tool, one.digest) == (tool, digest))
        self._left.remove(approval)
        if not await self._used.use(self._caller, approval.id, approval.expires_at):
            raise _used(self._given[approval.id][0])

    def offers(self, calls: Sequence[PendingCall]) -> list[dict[str, Any]]:
        """Returns what stands beside an answer: how to approve of each of `calls`."""
        found = []
        for call in calls:
            id, expires_at = self._approvals.offer(self._caller, self._assistant, call.tool, call.digest)
            found.append({"id": id, "tool": call.tool, "arguments": call.arguments, "expires_at": expires_at})
        return found


def _refused(i: int, why: str, code: str) -> ApiError:
    at = f"approvals[{i}]"
    return invalid(f"{at} {why}.", at, code)


def _used(i: int) -> ApiError:
    return _refused(i, "was used, and allows no second call: ask again", "used_approval")


def taint(
    route: Route, names: Sequence[str], body: ChatRequest, hits: Sequence[Hit] | None, turn: ConversationContext | None
) -> Callable[[], bool]:
    """Returns what tells, once memory is in the prompt, whether it holds what others wrote.

    Whatever the caller did not type as text may be others': what is attached, what a tool of the caller's said, and
    what an assistant said that reads what others wrote.
    """
    reads = route.reads or body.knowledge is not None or not _OWN_WORDS.issuperset(names)
    said = any(m.role == "tool" or (m.role == "assistant" and reads) or m.attaches for m in body.messages)

    def tainted() -> bool:
        # Turns of a summary that are deleted after it was read are not counted.
        recalled = turn is not None and (turn.noted or any(n for name, n in turn.report.items() if name != "left_out"))
        return said or bool(hits) or (recalled and reads)

    return tainted
