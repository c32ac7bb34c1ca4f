"""The output of a batch: answers of lines, counted when they are stored, and the lines of its files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import orjson
from sqlalchemy.engine import Connection

from serving.api.background.batch_input import InputLine
from serving.core.ids import new_id
from serving.inference.detached_exchange import DetachedExchange
from serving.metering.charge import quota_error
from serving.quotas.quota import QuotaExceeded
from serving.store.background.batches import Batch, BatchStatus, Line, OutputTooLarge, add_line
from serving.store.conversations import Item, Then
from serving.store.idempotency import KeptAnswer
from serving.store.jobs.job import Json
from serving.store.quotas import Meter

_UNANSWERED: Mapping[str, tuple[str, str]] = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
    "failed": ("batch_failed", "The batch's creator no longer has access."),
}

Full = QuotaExceeded | OutputTooLarge
"""Why an answer is not stored, and its batch ends."""

FULL = (QuotaExceeded, OutputTooLarge)


class LineHold:
    """Stores the answer of a line in the transaction of its effects. `full` tells why it could not be stored."""

    for_later = True

    def __init__(self, batch: Batch, line: InputLine, x: DetachedExchange, meter_of: Callable[[int], Meter]) -> None:
        self._batch = batch
        self._line = line
        self._x = x
        self._meter_of = meter_of
        self.kept = False
        self.full: Full | None = None

    def answer(self, last: bytes, *, stream: bool) -> KeptAnswer:
        """Returns the answer, which is not streamed."""
        return KeptAnswer("application/json", last)

    def keeping(
        self, answer: KeptAnswer | None, made_id: str, told_of: Mapping[str, str | None], then: Then | None
    ) -> Then:
        """Returns `then` with a step that stores the answer in the same transaction."""

        line = self.counted(200, answer.body) if answer is not None else None  # not in the thread of a transaction

        def both(connection: Connection, added: Sequence[Item]) -> None:
            self.full = None  # of an attempt that is repeated
            if line is not None:
                try:
                    add_line(connection, self._batch, *line)
                except FULL as e:
                    self.full = e
                    raise
            if then is not None:
                then(connection, added)

        return both

    def counted(self, status: int, body: bytes) -> tuple[Line, int, Meter]:
        """Returns the line with its answer, its size in an output file, and what counts that size.

        The answer names dropped fields, since a line has no headers.
        """
        if self._x.dropped and status < 400:
            answer = orjson.loads(body)
            answer["headrace"] = {**(answer.get("headrace") or {}), "dropped_params": list(self._x.dropped)}
            body = orjson.dumps(answer)
        request_id = self._x.request_id
        size = len(_answered_line(self._line, status, request_id, b"0")) - 1 + len(body)
        return Line(self._line.number, request_id, status, body.decode()), size, self._meter_of(size)

    async def pin(self) -> None:
        """Does nothing: if the gateway of a line dies, its tool calls are repeated."""


async def output_lines(
    answered: AsyncIterator[Line],
    lines: Iterable[InputLine],
    wanted: Callable[[int], bool],
    unanswered: BatchStatus | None = None,
) -> AsyncIterator[bytes]:
    """Yields the lines of an output file, including those without an answer if `unanswered` gives the reason."""
    found = await anext(answered, None)
    for line in lines:
        while found is not None and found.number < line.number:
            found = await anext(answered, None)
        if found is not None and found.number == line.number:
            if wanted(found.status_code):
                yield _answered_line(line, found.status_code, found.request_id, found.body)
        elif unanswered in _UNANSWERED:
            code, message = _UNANSWERED[str(unanswered)]
            yield _output_line(line, None, {"code": code, "message": message})


def _answered_line(line: InputLine, status: int, request_id: str, body: str | bytes) -> bytes:
    response = {"status_code": status, "request_id": request_id, "body": orjson.Fragment(body)}
    return _output_line(line, response, None)


def full_error(e: Full) -> Json:
    """Returns the error of a batch whose next answer cannot be stored."""
    if isinstance(e, OutputTooLarge):
        return {"code": "output_too_large", "message": str(e), "line": None, "param": None}
    message = f"Too little is left of the quota of {e.quota.description}; answers until then are in the batch's files."
    return {"code": quota_error(e).code, "message": message, "line": None, "param": None}


def _output_line(line: InputLine, response: Json | None, error: Json | None) -> bytes:
    document = {"id": new_id("batch_req"), "custom_id": line.custom_id, "response": response, "error": error}
    return orjson.dumps(document) + b"\n"
