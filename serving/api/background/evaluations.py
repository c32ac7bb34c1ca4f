"""Runs evaluations: jobs that any gateway may run, which score each prompt once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from serving.assistants.answer_programs import value_of_program
from serving.assistants.sandbox.on_demand import SandboxOnDemand
from serving.assistants.sandbox.pool import SandboxFull, SandboxUnavailable
from serving.config import Limits
from serving.core.ids import new_request_id, now
from serving.core.principal import Principal
from serving.hub.evaluation.answers import Answer, Messages, answered, refused
from serving.hub.evaluation.card import card
from serving.hub.evaluation.judging import agreement
from serving.hub.evaluation.scoring import score
from serving.hub.evaluations import EVALUATE, Evaluation, Evaluations
from serving.hub.suites import Suites
from serving.hub.training_data import TrainingData
from serving.inference.detached_exchange import DetachedExchange
from serving.protocol.suites import Suite
from serving.security.absent_callers import AbsentCallers, NotAllowedAnyMore
from serving.store.errors import NotFound
from serving.store.jobs.counted import counted
from serving.store.jobs.job import Json
from serving.store.jobs.worker import Handler, JobContext, PermanentError, Postponed

CHAT = "/v1/chat/completions"
RERANK = "/v1/rerank"

ROUTES = (CHAT, RERANK)
"""Routes that an evaluation asks."""

TURN_S = 60.0
"""Duration of a turn, after which no prompt begins: other tenants get their turn, and backups need not wait long."""

BUSY_S = 5.0
"""Wait until a model that is busy is asked again; prompts that were scored stay scored."""

_BUSY = ("overloaded", "rate_limit_exceeded")


class EvaluationRunner:
    """The job that scores the prompts of a suite on behalf of the evaluation's creator."""

    def __init__(
        self,
        evaluations: Evaluations,
        suites: Suites,
        callers: AbsentCallers,
        sandbox: SandboxOnDemand,
        training: TrainingData,
        limits: Limits,
    ) -> None:
        self._evaluations = evaluations
        self._training = training
        self._suites = suites
        self._callers = callers
        self._sandbox = sandbox
        self._limits = limits
        self._routes: Mapping[str, Any] = {}
        self._ready = asyncio.Event()
        self.handlers: dict[str, Handler] = {EVALUATE: counted(self._work)}

    def serve(self, routes: Mapping[str, Any]) -> None:
        """Sets the functions that answer requests, by route; see `line_requests`. No evaluation begins before."""
        self._routes = routes
        self._ready.set()

    async def _work(self, context: JobContext) -> Json | None:
        await self._ready.wait()
        try:
            evaluation = await self._evaluations.get(context.principal, context.job.payload["evaluation_id"])
            stored = await self._suites.get(context.principal, evaluation.suite)
        except NotFound:
            return None
        if evaluation.ended_at is not None:
            return None
        caller = await self._caller(evaluation)
        await self._evaluations.begin(evaluation)
        suite, models = stored.suite, _Models(self._routes, caller, until := now() + TURN_S)
        known = {each.number for each in await self._evaluations.scores(evaluation.id)}
        left = deque(number for number in range(len(suite.prompts)) if number not in known)

        async def work() -> None:
            while left and now() < until:
                number = left.popleft()
                found = await score(suite, number, models, self._run, evaluation.model, evaluation.against)
                await self._evaluations.keep(evaluation, found)
                await context.progress(len(suite.prompts) - len(left), len(suite.prompts))

        working = [asyncio.create_task(work()) for _ in range(self._limits.background_in_flight)]
        try:
            await asyncio.gather(*working)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        if left:
            raise Postponed(0)
        agreed = await agreement(suite.judge, models, suite.rated)
        scores = await self._evaluations.scores(evaluation.id)
        shared = await self._shared(context.principal, evaluation, suite)
        made = card(suite, scores, evaluation.model, evaluation.against, agreement=agreed, shared=shared)
        await self._evaluations.complete(evaluation, made)
        return None

    async def _shared(self, owner: Principal, evaluation: Evaluation, suite: Suite) -> list[int]:
        """Returns the numbers of prompts in the training data of the version. Raises `PermanentError`."""
        if evaluation.version is None:
            return []
        try:
            return await self._training.shared(owner, evaluation.version, suite)
        except (NotFound, ValueError):
            raise PermanentError("not_found", "The version or its data set can no longer be read.") from None

    async def _caller(self, evaluation: Evaluation) -> Principal:
        """Returns the creator with the permissions of now. Raises `PermanentError`."""
        try:
            if evaluation.created_by is None:  # forgotten
                raise NotAllowedAnyMore
            caller = await self._callers.again(evaluation.tenant, evaluation.created_by, evaluation.caller)
        except NotAllowedAnyMore:
            raise PermanentError("insufficient_scope", "The evaluation's creator no longer has access.") from None
        if "inference" not in caller.scopes:
            raise PermanentError("insufficient_scope", "The evaluation's creator is no longer allowed to use models.")
        return caller

    async def _run(self, answer: str, then: str) -> str | None:
        try:
            return await value_of_program(self._sandbox.get, answer, then)
        except SandboxFull:
            raise Postponed(BUSY_S) from None
        except SandboxUnavailable as e:
            raise PermanentError("unavailable", f"Programs cannot be run: {e}") from None


class _Models:
    """Asks through the routes of this gateway, as batches do."""

    def __init__(self, routes: Mapping[str, Any], caller: Principal, until: float) -> None:
        """`until` is the end of the turn."""
        self._routes = routes
        self._caller = caller
        self._until = until

    async def answer(self, model: str, messages: Messages, *, temperature: float, max_tokens: int) -> Answer:
        """Returns the answer to a chat. Raises `Postponed` if the model is busy."""
        body = {
            "model": model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        began = time.monotonic()
        document, error = await self._ask(CHAT, body)
        if error:
            return refused(document)
        return answered(document, seconds=time.monotonic() - began)

    async def score(self, model: str, query: str, documents: Sequence[str]) -> Sequence[float] | None:
        """Returns the scores of a reranking model, or None if it does not answer. Raises `Postponed` if it is busy."""
        document, error = await self._ask(RERANK, {"model": model, "query": query, "documents": list(documents)})
        if error:
            return None
        found = {each["index"]: float(each["relevance_score"]) for each in document["results"]}
        return [found[number] for number in range(len(documents))]

    async def _ask(self, route: str, body: Json) -> tuple[Json, bool]:
        """Returns a route's answer, and whether it is an error."""
        while True:
            x = DetachedExchange(new_request_id(), self._caller)
            found = await self._routes[route](orjson.dumps(body), x)
            if found.error is None or found.error.code not in _BUSY:
                return orjson.loads(found.body), found.status >= 400
            if now() > self._until:
                raise Postponed(BUSY_S)
            # An answer of the other model, which is paid for, would be lost with the turn.
            await asyncio.sleep(BUSY_S)
