"""The pipeline, which every request for an answer passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from serving.assistants.reader import BARE
from serving.assistants.register import AssistantRegister
from serving.assistants.sandbox.pool import SandboxOf
from serving.assistants.spotlight import Spotlight, Spotlights
from serving.config import AppModel, Limits, React
from serving.core.ids import new_id
from serving.engines.client import EngineClient
from serving.engines.router import Route
from serving.guardrails.history import CleanTexts, HistoryChecker
from serving.inference.active_catalog import ActiveCatalog, CatalogView
from serving.inference.admission import Admission
from serving.inference.approvals import GivenApprovals, taint
from serving.inference.apps.runner import AppRunner, app_tools
from serving.inference.apps.runs import AppRuns, require_acyclic
from serving.inference.capture import AnswerRecorder
from serving.inference.charging import charged
from serving.inference.chat_job import chat_job
from serving.inference.conversation_context import ContextSources
from serving.inference.documents.answers import (
    DocumentAnswer,
    answers_courtesy,
    courtesy,
    fixed_answer,
    question_of,
)
from serving.inference.documents.search import DocumentSearch
from serving.inference.documents.supported_answer import SupportedAnswer
from serving.inference.exchange import Exchange
from serving.inference.files.request_files import FileReader
from serving.inference.generation import Generator
from serving.inference.input_check import InputCheck
from serving.inference.job import GenerationJob, sampling_fields
from serving.inference.messages.chat import MessageChat
from serving.inference.messages.form import MessageForm
from serving.inference.messages.object import message
from serving.inference.prepared_request import PreparedRequest
from serving.inference.request_forms import Body, ChatForm, Form, ResponseForm
from serving.inference.responses import prompt as stored_prompt
from serving.inference.responses.object import QueuedResponse
from serving.inference.sharing.answer_sources import answer_sources
from serving.inference.strategy_choice import choose, searches_by_itself, tools_of
from serving.inference.strategy_runner import Acting, StrategyRunner
from serving.metering.keeper import Keeper
from serving.protocol.chat import ChatRequest, CompletionRequest
from serving.protocol.completions import legacy_logprobs
from serving.protocol.errors import invalid, no_model, wrong_task
from serving.protocol.responses import ResponseRequest
from serving.retrieval.types import Hit
from serving.security.approvals import Approvals
from serving.security.audit import AuditLog
from serving.store.apps.checkpoints import Checkpoints
from serving.store.responses import NewResponse
from serving.store.used_approvals import UsedApprovals
from serving.telemetry.catalogue import UNASKED


class Pipeline:
    """Answers requests, in a line of stages.

    A request is resolved to a route, charged, checked by guardrails and parsed; it waits for admission; documents are
    searched; then a model or a strategy answers, citations are added, and the answer is stored.
    """

    def __init__(
        self,
        *,
        catalog: ActiveCatalog,
        assistants: AssistantRegister,
        limits: Limits,
        keeper: Keeper,
        admission: Admission,
        input_check: InputCheck,
        sources: ContextSources,
        clean: CleanTexts,
        documents: DocumentSearch,
        spotlights: Spotlights,
        files: FileReader,
        generator: Generator,
        recorder: AnswerRecorder,
        client: EngineClient,
        apps: AppRuns,
        checkpoints: Checkpoints,
        sandbox: SandboxOf,
        approvals: Approvals,
        used_approvals: UsedApprovals,
        audit: AuditLog,
    ) -> None:
        self._catalog = catalog
        self._assistants = assistants
        self._limits = limits
        self._keeper = keeper
        self._admission = admission
        self._input_check = input_check
        self._sources = sources
        self._clean = clean
        self._documents = documents
        self._spotlights = spotlights
        self._files = files
        self._generator = generator
        self._recorder = recorder
        self._client = client
        self._apps = apps
        self._checkpoints = checkpoints
        self._sandbox = sandbox
        self._approvals = approvals
        self._used_approvals = used_approvals
        self._audit = audit

    async def chat(self, x: Exchange, body: ChatRequest) -> dict[str, Any] | None:
        """Returns the answer to a chat, or None after it was streamed. Raises `ApiError`."""
        return await self._answer(x, ChatForm(body, self._sources))

    async def response(
        self, x: Exchange, body: ResponseRequest, queued: QueuedResponse | None = None
    ) -> dict[str, Any] | None:
        """Returns the response, or None after it was streamed. Raises `ApiError`.

        `queued` is the background response that it answers.
        """
        form = self._response_form(body, queued)
        answer = await self._answer(x, form)
        return form.response.document() if answer is not None and form.response is not None else None

    async def message(self, x: Exchange, asked: MessageChat) -> dict[str, Any] | None:
        """Returns the message that answers, or None after it was streamed. Raises `ApiError` with fields of a chat."""
        answer = await self._answer(x, MessageForm(asked, self._sources))
        return message(answer, asked.stops) if answer is not None else None

    async def queue_response(self, x: Exchange, body: ResponseRequest) -> tuple[NewResponse, Route]:
        """Charges a request that will be answered in the background; returns its response, and the route that it has
        now. Raises `ApiError`.

        Its tokens are charged, and guardrails check it, when it runs.
        """
        if x.run is not None:
            raise invalid("Requests of an app end with its run: background must be false.", "background")
        form = self._response_form(body)
        route = await self._resolve(x, self._catalog.current, body.model)
        x.served = UNASKED  # its answer is a request of its own
        async with charged(self._keeper, x):
            form.body = await self._prompted(x, body)
            return await form.queue(x, route), route

    async def completion(self, x: Exchange, body: CompletionRequest) -> dict[str, Any] | None:
        """Returns the continuation of a text by a model, or None after it was streamed. Raises `ApiError`."""
        view = self._catalog.current
        route = await self._resolve(x, view, body.model)
        if route.app is not None:
            raise invalid("An app answers chat completions and responses; completions need a model.", "model")
        if route.assistant is not None:
            raise invalid("An assistant answers chat completions; completions need a model.", "model")
        async with x.cancelled_by_hang_up(), charged(self._keeper, x, stream=body.stream):
            with x.timeline.during("guard"):
                body = await self._input_check.check(x, view.rails, route, body)
            job = self._completion_job(x, route, body)
            async with self._admission.admit(background=x.background, within=x.run is not None):
                x.timeline.end_of("admit")
                return await self._generator.run(x, job)

    async def count(self, x: Exchange, asked: ResponseRequest | MessageChat) -> int:
        """Returns the number of tokens that a model would read for an answer, with earlier turns and documents.

        Guardrails check all of it as for an answer: redacted text is not counted, and blocking raises `ApiError`.
        """
        if isinstance(asked, MessageChat):
            return await self._count(x, MessageForm(asked, self._sources))
        return await self._count(x, self._response_form(asked))

    async def _count(self, x: Exchange, form: Form[Body]) -> int:
        view = self._catalog.current
        route = await self._resolve(x, view, form.body.model)
        async with x.cancelled_by_hang_up(), charged(self._keeper, x):
            if route.app is not None:
                raise invalid("The tokens that an app reads are not known in advance; name a model.", "model")
            read = await self._read_request(x, view, route, form, answers=False)
            if (plan := read.strategy) is not None:
                raise invalid(
                    f"The tokens that {plan.kind} reads are not known in advance; count a direct answer.",
                    "strategy",
                )
            async with self._admission.admit(background=x.background, within=x.run is not None):
                x.timeline.end_of("admit")
                if answers_courtesy(route, read.asked.chat):
                    return 0
                read = await self._with_files(x, read)
                hits = await self._search(x, read)
                if read.refuses(hits) or (hits is not None and read.quotes):
                    return 0
                return await self._generator.count(x, chat_job(read.asked, route, hits, marks=self._marks(x, route)))

    def _response_form(self, body: ResponseRequest, queued: QueuedResponse | None = None) -> ResponseForm:
        return ResponseForm(body, self._sources, self._admission, self._limits, queued)

    async def _answer(self, x: Exchange, form: Form[Body]) -> dict[str, Any] | None:
        view = self._catalog.current
        route = await self._resolve(x, view, form.body.model)
        form.check(route, self._recorder)
        async with x.cancelled_by_hang_up(), charged(self._keeper, x, stream=form.body.stream):
            read = await self._read_request(x, view, route, form)
            await read.approvals.record(self._audit, x.request_id)
            async with self._admission.admit(background=x.background, within=x.run is not None):
                x.timeline.end_of("admit")
                small_talk = read.asked.searches and answers_courtesy(route, read.asked.chat)
                if not small_talk:
                    read = await self._with_files(x, read)
                # Samples that vote need the excerpts in advance; only ReAct searches by itself.
                hits = None if small_talk or self._asks_itself(read) else await self._search(x, read)
                if hits is not None and read.asked.chat.knowledge is not None:
                    found = [] if read.answered_by_files else hits
                    await form.searched(x, self._documents, question_of(read.asked.chat), found)
                job = self._job(x, read, hits)
                x.timeline.end_of("prompt")
                said = await self._unasked(x, read, hits, small_talk=small_talk)
                if said is None:
                    return await self._generator.run(x, job)
                x.served = UNASKED
                return await fixed_answer(x, job, said)

    async def _unasked(
        self, x: Exchange, read: PreparedRequest, hits: Sequence[Hit] | None, *, small_talk: bool
    ) -> DocumentAnswer | None:
        """Returns the answer that needs no model, or None if one is needed."""
        assistant, context = read.reader or read.route.assistant or BARE, read.asked.context
        if small_talk:
            return await courtesy(x, assistant, context)
        if read.refuses(hits):
            return await self._documents.refused(x, assistant, context, (read.route.stores, read.asked.chat.knowledge))
        if hits and read.strategy is None and assistant.unsupported == "quote":
            return await self._documents.quoted(x, hits, context, read.asked.citations)
        return None

    async def _resolve(self, x: Exchange, view: CatalogView, name: str) -> Route:
        """Returns the route for `name` and this caller; raises `ApiError`, also if the caller may not call it.

        Names of the configuration take precedence. Names that tenants choose are not in metrics, since their number is
        unlimited.
        """
        route = view.router.resolve(name, x.caller) or await self._assistants.route(view.router, name, x.caller)
        if route is None and name in self._documents.embedders:
            raise wrong_task(name, "embed", "answer chats")
        if route is None:
            raise no_model(name)
        if route.task != "chat":
            raise wrong_task(name, route.task, "answer chats")
        if route.app is not None:
            if route.assistant is not None:
                raise invalid("An app cannot be the model of an assistant.", "model")
            require_acyclic(route.app.name, x.run)
        # Names that tenants chose are no labels of metrics.
        chosen = route.alias if route.own else route.adapts if route.live else None
        x.model = chosen or route.requested
        x.serve(route)
        x.assistant = route.assistant.name if route.assistant is not None and not route.own else None
        return route

    async def _read_request(
        self,
        x: Exchange,
        view: CatalogView,
        route: Route,
        form: Form[Body],
        *,
        answers: bool = True,
    ) -> PreparedRequest:
        """Has guardrails check a request, and returns its parsed form."""
        given = await self._prompted(x, form.body)
        with x.timeline.during("guard"):
            body = await self._input_check.check(x, view.rails, route, given, answers=answers)
        screen = HistoryChecker.for_guard(x.guard, self._clean)
        asked = await form.read(x, route, body, view.rails.instructions(route.assistant, x.caller), screen)
        await self._documents.check(x, route, asked.chat, asked.fields.get("knowledge", "knowledge"))
        strategy = choose(route, asked.chat, asked.fields)
        approvals = GivenApprovals(self._approvals, self._used_approvals, x.caller, route, asked.chat.approvals or ())
        return PreparedRequest(view, route, asked, strategy, approvals)

    async def _prompted(self, x: Exchange, body: Body) -> Body:
        """Returns a request whose instructions are those of the stored prompt that it names, which `x` then has."""
        if isinstance(body, ChatRequest):
            return body
        x.prompt = await stored_prompt.find(self._assistants.prompts, x.caller, body)
        return x.prompt.filled(body) if x.prompt is not None else body

    async def _with_files(self, x: Exchange, read: PreparedRequest) -> PreparedRequest:
        """Returns a request in which files are replaced by what the model reads of them."""
        asked = read.asked
        quotes = asked.searches and read.strategy is None and read.quotes
        with x.timeline.during("prompt"):
            files = await self._files.read(x, read.route, asked, read.reader, quotes=quotes)
        if files is None:
            return read
        if asked.context is not None:
            asked.context.show_files(files.earlier)
        return replace(read, asked=replace(asked, read=files.chat), files=files)

    def _asks_itself(self, read: PreparedRequest) -> bool:
        return isinstance(read.strategy, React) and searches_by_itself(read.route, read.strategy)

    async def _search(self, x: Exchange, read: PreparedRequest) -> Sequence[Hit] | None:
        if not (asked := read.asked).searches:
            return None
        if read.answered_by_files:
            return read.attached
        return await self._documents.search(x, read.route, asked.chat, asked.param, asked.context)

    def _marks(self, x: Exchange, route: Route) -> Spotlight | None:
        """Returns the marks around passages, None if the assistant disables them."""
        return self._spotlights.for_assistant(route.assistant or BARE, x.caller.tenant)

    def _job(self, x: Exchange, read: PreparedRequest, hits: Sequence[Hit] | None) -> GenerationJob:
        """Returns the generation job, with solver, annotator and keeper."""
        asked, route = read.asked, read.route
        searches = searches_by_itself(route, read.strategy)
        found = [*(() if read.answered_by_files else read.attached), *(hits or ())]
        # A list that the model's own searches add to; None for a model that reads nothing.
        shown = found if searches or found else hits
        attached = read.files.ids if read.files is not None else frozenset()
        sources = partial(answer_sources, x, asked.chat, read.strategy, shown, asked.context, attached=attached)
        job = chat_job(
            asked,
            route,
            hits,
            marks=self._marks(x, route),
            annotator=self._documents.annotator(
                x, shown, asked.context, kind=asked.citations, slow=bool(shown), assistant=read.reader
            ),
            keeper=self._recorder.keeper(x, route, asked.body, shown, asked.place, sources, asked.render),
        )
        if route.app is not None:
            return replace(job, solver=self._app_runner(x, read, route.app))
        policy = self._documents.policy(read.reader, shown)
        if read.strategy is None:
            if policy is None or not shown:
                return job
            solver = SupportedAnswer(self._client, policy)
            return replace(job, solver=solver, effort=solver.effort(job.document))
        foreign = x.prompt is not None and x.prompt.foreign
        tainted = taint(route, tools_of(route), asked.chat, shown, asked.context, foreign=foreign)
        acting = Acting(read.view.tools, read.approvals, tainted)
        tool = self._documents.tool(x, route, asked.chat, found) if searches else None
        marks = self._spotlights.for_assistant(route.assistant, x.caller.tenant)
        runner = StrategyRunner(
            self._client, self._sandbox, read.strategy, tools_of(route), tool, acting, policy, marks
        )
        memory = runner.leaving_room(job.memory) if job.memory is not None else None
        return replace(job, solver=runner, memory=memory, effort=read.strategy.tokens)

    def _app_runner(self, x: Exchange, read: PreparedRequest, app: AppModel) -> AppRunner:
        names, catalogue, context = tools_of(read.route), read.view.tools, read.asked.context
        return AppRunner(
            self._client,
            self._apps,
            self._checkpoints,
            app,
            lambda changing: app_tools(x, names, catalogue, self._sandbox, changing),
            context.of_conversation if context is not None else None,
        )

    def _completion_job(self, x: Exchange, route: Route, body: CompletionRequest) -> GenerationJob:
        document: dict[str, Any] = {**sampling_fields(body), "prompt": body.prompt}
        if body.max_tokens is not None:
            document["max_tokens"] = body.max_tokens
        if body.logprobs is not None:
            document["logprobs"] = body.logprobs
        return GenerationJob(
            path="/completions",
            id=new_id("cmpl"),
            route=route,
            document=document,
            stream=body.stream,
            want_usage=body.stream_options is not None and body.stream_options.include_usage,
            keeper=self._recorder.keeper(x, route, body),
            transform=legacy_logprobs if body.logprobs is not None else None,
        )
