"""Memory's durable jobs after an answer: one for each turn, sequential per conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from sqlalchemy.engine import Connection

from serving.assistants.memory.extractor import Extractor
from serving.assistants.memory.helper_model import HelperModel, lease_helper
from serving.assistants.memory.indexer import Indexer
from serving.assistants.memory.screen import HistoryScreen
from serving.assistants.memory.summariser import Summariser
from serving.config import (
    Assistant,
    BufferMemory,
    FactsMemory,
    NoMemory,
    SummaryMemory,
    SummaryWindowMemory,
    TokenWindowMemory,
    VectorMemory,
)
from serving.core.principal import Principal
from serving.engines.client import EngineClient
from serving.engines.pool import Engines
from serving.engines.router import ModelRouter
from serving.metering.keeper import Keeper
from serving.store.conversations import Item, Then
from serving.store.errors import NotFound
from serving.store.jobs.counted import counted
from serving.store.jobs.queue import Jobs, Json, add_job
from serving.store.jobs.worker import Handler, JobContext, PermanentError

REMEMBER = "remember"
"""Job kind: payload {"conversation_id", "assistant", "first", "last"}: updates memory after the items numbered `first`
to `last` were added to the conversation.
"""

ATTEMPTS = 3

STEPS = 8
"""Maximum number of summaries of one job; the remaining work waits behind other jobs."""


class MemoryJobs:
    """Enqueues and runs the jobs. `resolver` and `screen` return those of the current catalogue."""

    def __init__(
        self,
        jobs: Jobs,
        summariser: Summariser,
        extractor: Extractor,
        indexer: Indexer,
        engines: Engines,
        client: EngineClient,
        resolver: Callable[[], ModelRouter],
        screen: Callable[[Assistant, Principal], HistoryScreen | None],
        keeper: Keeper | None = None,
    ) -> None:
        self._jobs = jobs
        self._summariser = summariser
        self._extractor = extractor
        self._indexer = indexer
        self._engines = engines
        self._client = client
        self._resolver = resolver
        self._screen = screen
        self._keeper = keeper
        self.handlers: dict[str, Handler] = {REMEMBER: counted(self._remember)}

    def after(self, principal: Principal, assistant: Assistant | None, id: str) -> Then | None:
        """Returns what a turn's transaction must do for memory, or None."""
        if assistant is None or isinstance(assistant.memory, NoMemory | BufferMemory | TokenWindowMemory):
            return None
        name = assistant.name

        def enqueue(connection: Connection, added: Sequence[Item]) -> None:
            if added:
                turn = {"first": added[0].seq, "last": added[-1].seq}
                payload = {"conversation_id": id, "assistant": name} | turn
                add_job(connection, principal, REMEMBER, payload, group=(id, None), max_attempts=ATTEMPTS)

        return enqueue

    async def _remember(self, context: JobContext) -> Json | None:
        name, id = context.job.payload["assistant"], context.job.payload["conversation_id"]
        assistant = self._resolver().composed_assistant(name)
        if assistant is None:
            raise PermanentError("assistant_not_found", f"the assistant '{name}' no longer exists")
        try:
            if isinstance(assistant.memory, SummaryMemory | SummaryWindowMemory):
                return await self._summarise(context, assistant, assistant.memory, id)
            if isinstance(assistant.memory, VectorMemory):
                return await self._indexer.index(context, assistant, assistant.memory, id)
            if isinstance(assistant.memory, FactsMemory):
                async with self._helper(context, assistant, assistant.memory.model) as model:
                    return await self._extractor.extract(context, assistant, assistant.memory, model)
        except NotFound:  # the conversation was deleted meanwhile, and with it what it would add to memory
            return None
        return None

    async def _summarise(
        self, context: JobContext, assistant: Assistant, kind: SummaryMemory | SummaryWindowMemory, id: str
    ) -> Json:
        async with self._helper(context, assistant, None) as answering:
            edge = await self._summariser.edge(context, assistant, id, answering)
        if not await self._summariser.behind(context, id, edge):
            return {"steps": 0}
        steps = 0
        async with self._helper(context, assistant, kind.model) as model:
            while await self._summariser.fold(
                context, kind, id, edge, model, self._screen(assistant, context.principal)
            ):
                steps += 1
                if steps == STEPS:
                    payload = context.job.payload
                    await self._jobs.enqueue(
                        context.principal, REMEMBER, payload, group=(id, None), max_attempts=ATTEMPTS
                    )
                    break
        return {"steps": steps}

    def _helper(
        self, context: JobContext, assistant: Assistant, model: str | None
    ) -> AbstractAsyncContextManager[HelperModel]:
        """Leases `model`, by default the assistant's own. Its tokens are recorded for the assistant, and charged to the
        conversation's user.
        """
        route = self._resolver().composed(model or assistant.model)
        if route is None:  # the catalogue is validated: only a newer one can lack it
            raise PermanentError("model_not_found", f"the model '{model}' no longer exists")
        route = replace(route, requested=assistant.name)
        return lease_helper(self._engines, self._client, route, context.principal, self._keeper)
