"""Records a request as an event of the audit log, in the transaction of its effects."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import made_id, read_body, unread
from serving.api.http_exchange import HttpExchange
from serving.api.operation import Handler, Operation
from serving.api.services import Services
from serving.protocol.errors import ApiError
from serving.store.audit import Detail

_PARTS = {"file_id": "file", "file_batch_id": "file_batch"}
"""Parameters in paths for parts of a vector store, with their names in the log."""

_ADDED = {"vector_store_file.create": "file_id", "vector_store_file_batch.create": "file_batch_id"}
"""Actions that add a part to a vector store, with the part's name."""


class AuditRecording:
    """The event of one request, which is written once."""

    def __init__(self, s: Services, x: HttpExchange, op: Operation, request: Request) -> None:
        self._audit = s.audit
        self._x = x
        self._op = op
        self._request = request
        self.written = False

    async def write(
        self,
        target: str | None,
        added: str | None = None,
        *,
        subject: str | None = None,
        detail: Detail | None = None,
    ) -> None:
        """Writes the event about the object `target`, the part `added` to it, and the user `subject`.

        Raises `StoreUnavailable`.
        """
        op, request = self._op, self._request
        if op.audited is None:
            raise AssertionError("this route has no audit events")
        parts = dict(request.path_params) if "store_id" in request.path_params else {}
        if (kind := _ADDED.get(op.audited)) is not None and added is not None:
            parts[kind] = added
        await self._audit.record(
            self._x.caller,
            op.audited,
            target if not op.about_user else None,
            subject=target if op.about_user else subject,
            detail=detail or {name: parts[part] for part, name in _PARTS.items() if part in parts} or None,
            request_id=self._x.request_id,
            tenant=request.query_params.get("tenant") if any(each.name == "tenant" for each in op.query) else None,
        )
        self.written = True

    def skip(self) -> None:
        """Has no event written, for a request that changes nothing."""
        self.written = True


async def audited(op: Operation, handler: Handler, s: Services, request: Request, x: HttpExchange) -> Response | None:
    """Handles a request and records it, both or neither.

    The handler and its event share a transaction, in which nothing waits for the caller: the body is read before. A
    handler that does more than write to the store has its own transaction, and calls `Exchange.record` in it. Rejected
    requests are only counted, so that nobody can flood the log with them.
    """
    x.recording = recording = AuditRecording(s, x, op, request)

    async def work() -> Response | None:
        response = await handler(s, request, x)
        repeated = response is not None and "idempotency-replayed" in response.headers
        if not recording.written and not repeated:
            whole, made = next(iter(request.path_params.values()), None), made_id(response)
            await recording.write(whole or made, made)
        return response

    try:
        if op.own_transaction or op.method == "GET":
            return await work()
        if op.body is not None:
            request = unread(await read_body(request, s.limits), request)
        return await s.database.atomically(work)
    except Exception as e:
        reason = e.code if isinstance(e, ApiError) else type(e).__name__
        s.audit.count(op.audited or "authorization", reason, x.caller.tenant)
        raise
