"""The services that the API's handlers use, created once per gateway replica."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from serving.api.addresses.client_address import address_of
from serving.api.anthropic_shape import authorization_of
from serving.api.app_gate import AppGate
from serving.api.background.batches import BatchRunner
from serving.api.background.responses import ResponseRunner
from serving.api.background.webhooks import WebhookSender
from serving.api.hub.registry import RegistryServices
from serving.api.hub.services import EVALUATIONS, HubServices
from serving.api.resumable.buffer import Buffers
from serving.api.resumable.detaching import Detaching
from serving.api.resumable.ids import StreamIds
from serving.api.resumable.peers import Peers
from serving.api.state_sampler import Sampler
from serving.assistants.memory.extractor import Extractor
from serving.assistants.memory.indexer import Indexer
from serving.assistants.memory.jobs import MemoryJobs
from serving.assistants.memory.retriever import MemoryRetriever
from serving.assistants.memory.screen import HistoryScreen
from serving.assistants.memory.summariser import Summariser
from serving.assistants.register import AssistantRegister
from serving.assistants.sandbox.on_demand import SandboxOnDemand
from serving.assistants.spotlight import Spotlights
from serving.assistants.tools.catalogue import CatalogTools
from serving.assistants.tools.mcp import McpServers
from serving.config import TOOLS, Assistant, Catalog, McpTool, ServingConfig, refuse_own_store
from serving.core.principal import Principal
from serving.core.ttl_cache import TtlCache
from serving.engines.adapters.live_models import INTERVAL_S, LiveModels
from serving.engines.client import EngineClient
from serving.engines.pool import Engines, Handle
from serving.engines.ready_replicas import ReadyReplicas
from serving.engines.router import ModelRouter
from serving.guardrails.checker import GuardrailChecker
from serving.guardrails.classifiers import Classifiers
from serving.guardrails.history import SIZE, TTL_S, CleanTexts, HistoryChecker
from serving.guardrails.rails import AssistantRails
from serving.hub.live import Live
from serving.inference.active_catalog import ActiveCatalog, CatalogView
from serving.inference.admission import Admission
from serving.inference.apps.runs import AppRuns
from serving.inference.capture import AnswerRecorder
from serving.inference.conversation_context import ContextSources
from serving.inference.documents.search import DocumentSearch
from serving.inference.files.attached_files import AttachedFiles
from serving.inference.files.request_files import FileReader
from serving.inference.generation import Generator
from serving.inference.input_check import InputCheck
from serving.inference.pipeline import Pipeline
from serving.inference.sharing.visibility import Sharing
from serving.metering.keeper import Keeper
from serving.metering.spending import Spending
from serving.retrieval.client import RetrievalClient
from serving.security.absent_callers import AbsentCallers
from serving.security.approvals import Approvals
from serving.security.audit import AuditLog
from serving.security.browser import Browser
from serving.security.erasure import Erasures
from serving.security.identity import Identity
from serving.security.keys import Authenticator
from serving.security.people import KnownPeople
from serving.security.prompt_cache import CacheOwners
from serving.security.provider import Provider
from serving.security.sign_in_codes import SignInCodes
from serving.security.tokens import TokenVerifier
from serving.store.apps.checkpoints import Checkpoints
from serving.store.attachments.file_batches import FileBatches
from serving.store.background.batches import Batches
from serving.store.background.responses import BackgroundResponses
from serving.store.background.webhooks import Webhooks
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import StoreUnavailable
from serving.store.feedback import Ratings
from serving.store.files import Files
from serving.store.history.conversation_list import ConversationList
from serving.store.history.forks import Forks
from serving.store.history.rating_counts import RatingCounts
from serving.store.history.reviews import Reviews
from serving.store.idempotency import IdempotencyKeys
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import Worker
from serving.store.keys import USED_S, Keys
from serving.store.memories import Memories
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from serving.store.objects.live_adapters import LiveSets
from serving.store.quotas import QuotaStore
from serving.store.relational.database import Database
from serving.store.responses import Responses
from serving.store.sessions import Sessions
from serving.store.summaries import Summaries
from serving.store.tenants import Tenants
from serving.store.turn_vectors import TurnVectors
from serving.store.upkeep.condition import Condition
from serving.store.usage import Usage
from serving.store.used_approvals import UsedApprovals
from serving.store.users import Users
from serving.store.vector_stores import VectorStores
from serving.telemetry import deployed, loop_lag, metrics
from serving.telemetry.dashboards.prometheus import PrometheusClient
from serving.telemetry.tracing import Tracer

log = logging.getLogger("headrace.api")

BATCHES = 4
"""Number of batches, each of another tenant, that a gateway processes at once: they share its background slots."""


class Services:
    """The gateway's components, wired together.

    `start()` is called before the first request, `close()` after the last. `host` is the address under which other
    gateways reach this one.
    """

    def __init__(
        self, config: ServingConfig, retrieval: Any, handle_of: Callable[[str], Handle], host: str = "127.0.0.1"
    ) -> None:
        self.config = config
        self.limits = config.limits
        self.database = Database.from_config(config.store)
        self.blobs = Blobs(data.place(config.store, data.FILES))
        self.jobs = Jobs(self.database)
        self.vector_stores = VectorStores(self.database, self.jobs)
        self.file_batches = FileBatches(self.database, self.jobs)
        self.files = Files(self.database, self.jobs, self.vector_stores)
        self.registry = RegistryServices(config, self.database, self.jobs, self.files)
        self.conversations = Conversations(self.database)
        self.conversation_list, self.forks = ConversationList(self.database), Forks(self.database)
        self.rating_counts, self.reviews = RatingCounts(self.database), Reviews(self.database)
        self.captures, self.ratings = Captures(self.database), Ratings(self.database)
        self.responses = Responses(self.database, self.conversations)
        self.background = BackgroundResponses(self.database, self.jobs, config.limits)
        self.batches, self.webhooks = Batches(self.database, self.jobs), Webhooks(self.database)
        self.tenants, self.users = Tenants(self.database), Users(self.database)
        self.keys, self.idempotency_keys = Keys(self.database), IdempotencyKeys(self.database)
        self.quotas, self.usage = QuotaStore(self.database), Usage(self.database)
        self.keeper = Keeper(self.quotas, self.usage, config.quotas)
        self.sampler = Sampler(config.store, Condition(self.database), self.keeper, Spending(self.usage))
        secret = config.key_secret.read()
        previous = config.key_secret_previous.read() if config.key_secret_previous is not None else None
        self.authenticator = Authenticator(self.keys, secret, previous=previous)
        people = KnownPeople(self.users)
        self.providers = [Provider(issuer) for issuer in config.oidc.issuers]
        self.identity = Identity(self.authenticator, TokenVerifier(self.providers, people))
        self.sessions = Sessions(
            self.database, lifetime_s=config.oidc.session_hours * 3600, idle_s=config.oidc.idle_minutes * 60
        )
        self.browser = Browser(
            config.oidc, config.cors, self.providers, self.sessions, people, secret, previous=previous
        )
        self.approvals = Approvals(secret, previous=previous)
        self.used_approvals = used = UsedApprovals(self.database)
        self.sign_in_codes = SignInCodes(config.sign_in_links, self.keys, used, secret, previous=previous)
        self.audit = AuditLog(self.database, secret, [previous] if previous is not None else [])
        self.erasures = Erasures(self.database, self.jobs, self.files, self.vector_stores, self.audit.key)
        self.admission = Admission(config.limits)
        sets = LiveSets(data.place(config.store, data.HUB))
        self.live_models, self.live = LiveModels(sets), Live(self.database, sets)
        self.engines = Engines(handle_of, config.limits.lease_timeout_s, CacheOwners(config.prompt_cache, secret))
        self.replicas = ReadyReplicas()
        self.upstream, self.prometheus = EngineClient(), PrometheusClient(config.prometheus)
        self.tracer: Tracer | None = None
        if config.tracing.endpoint is not None:
            from serving.telemetry.otlp import OtlpTracer  # OpenTelemetry is optional

            self.tracer = OtlpTracer(config.tracing)
        self.stream_ids = StreamIds(secret, previous=previous)
        buffers = Buffers(config.limits)
        self.detaching = Detaching(buffers)
        self.app_runs, self.checkpoints = AppRuns(), Checkpoints(self.database)
        self.app_gate = AppGate(self.app_runs, self.checkpoints, host)
        self.peers = Peers(buffers, self.stream_ids, host)
        self.sandbox = SandboxOnDemand()
        self.retrieval = RetrievalClient(retrieval)
        self.mcp = McpServers()
        callers = AbsentCallers(self.keys, self.users, self.tenants)
        self.hub = HubServices(
            self.database, self.jobs, self.registry, callers, self.sandbox, self.limits, self._current_router, self.live
        )
        self._configuration = Catalog()
        self.catalog = ActiveCatalog(self._view(self._configuration))
        self.judges = Classifiers(self.retrieval, self.engines, self.upstream, self._current_router)
        self.clean: CleanTexts = TtlCache(TTL_S, SIZE)
        self.configured_at = 0
        self._configured = asyncio.Event()
        summaries = Summaries(self.database)
        self.memories = Memories(self.database)
        vectors = TurnVectors(self.database)
        retriever = MemoryRetriever(self.conversations, summaries, self.memories, vectors, self.retrieval)
        self.remembering = MemoryJobs(
            self.jobs,
            Summariser(self.conversations, summaries),
            Extractor(self.conversations, self.memories),
            Indexer(vectors, self.retrieval),
            self.engines,
            self.upstream,
            self._current_router,
            self._screen,
            self.keeper,
        )
        recorder = AnswerRecorder(self.captures, self.remembering, config)
        self.attached_files = attached = AttachedFiles(self.files, self.blobs, config.limits)
        sources = ContextSources(self.conversations, self.responses, retriever, self.upstream, self.audit, attached)
        self.assistants = AssistantRegister(self.database, config.limits.assistants)
        self.sharing = Sharing(self.database, self.vector_stores, self.catalog, self.assistants, self.retrieval)
        self.input_check = InputCheck(self.judges, self.admission, recorder, self.audit)
        self.pipeline = Pipeline(
            catalog=self.catalog,
            assistants=self.assistants,
            limits=config.limits,
            keeper=self.keeper,
            admission=self.admission,
            input_check=self.input_check,
            sources=sources,
            clean=self.clean,
            documents=DocumentSearch(self.retrieval, self.vector_stores),
            spotlights=Spotlights(secret),
            files=FileReader(attached, self.retrieval, Spotlights(secret)),
            generator=Generator(self.engines, self.upstream),
            recorder=recorder,
            client=self.upstream,
            apps=self.app_runs,
            checkpoints=self.checkpoints,
            sandbox=self.sandbox.get,
            approvals=self.approvals,
            used_approvals=self.used_approvals,
            audit=self.audit,
        )
        self.batch_runner = BatchRunner(
            self.database, self.batches, self.files, self.blobs, callers, self.limits, self.quotas, self.keeper
        )
        self._responding = ResponseRunner(self.background, callers, self.pipeline, buffers, self.peers, self.stream_ids)
        self._working: asyncio.Task[None] | None = None
        self._upkeep: list[asyncio.Task[None]] = []

    def _view(self, catalog: Catalog) -> CatalogView:
        return CatalogView(self._router(catalog), AssistantRails(catalog), CatalogTools(self.mcp, catalog.tools))

    def _current_router(self) -> ModelRouter:
        return self.catalog.current.router

    def _router(self, catalog: Catalog) -> ModelRouter:
        return ModelRouter(catalog, self.live_models.adapters, released=self.hub.released)

    def _screen(self, assistant: Assistant, caller: Principal) -> HistoryScreen | None:
        """Returns the checks of an assistant for a history that no request reads."""
        if (rails := self.catalog.current.rails.for_assistant(assistant)) is None:
            return None
        return HistoryChecker.for_guard(GuardrailChecker(rails, self.judges, caller), self.clean)

    async def start(self) -> None:
        """Migrates the database, stores the bootstrap key and starts the workers."""
        await self.database.start()
        if self.config.bootstrap_key is not None:
            await self.authenticator.ensure_bootstrap(self.config.bootstrap_key.read())
        await self.keeper.start()
        await self.peers.start()
        await self.app_gate.start()
        self._working = asyncio.create_task(self._work())
        upkeep = (
            self._note_used(),
            self.audit.keep(self.config.retention.audit),
            self.sampler.run(),
            loop_lag.watch("gateway"),
            self.hub.keeper.run(),
            self._keep_following(),
        )
        self._upkeep = [asyncio.create_task(each) for each in upkeep]

    async def _note_used(self) -> None:
        """Stores the times of last use of keys, outside of requests."""
        while True:
            await asyncio.sleep(USED_S)
            try:
                await self.authenticator.note_used()
            except StoreUnavailable as e:
                log.warning("the last use of keys cannot be stored: %s", e)

    async def _work(self) -> None:
        """Runs jobs, once there is a catalogue, without which no assistant is known."""
        await self._configured.wait()
        remembering = Worker(self.jobs, self.remembering.handlers, lane="")
        responding = Worker(self.jobs, self._responding.handlers, lane="", concurrency=self.limits.background_in_flight)
        batches = Worker(self.jobs, self.batch_runner.handlers, lane="", concurrency=BATCHES)
        evaluating = Worker(self.jobs, self.hub.evaluating.handlers, lane="", concurrency=EVALUATIONS)
        sending = WebhookSender(self.webhooks).worker(self.jobs)
        async with asyncio.TaskGroup() as group:
            for worker in (remembering, responding, batches, evaluating, sending):
                group.create_task(worker.run())

    def configure(self, catalog: Catalog) -> None:
        """Takes a new catalogue; requests in progress keep theirs.

        Raises `ValueError` when a tool's database is the stack's own.
        """
        refuse_own_store(self.config.store, catalog)
        self.engines.configure(catalog)
        self.live_models.configure(catalog)
        self.engines.adapt(self.live_models.adapters)
        self._configuration = catalog
        self.retrieval.configure(catalog)
        self.mcp.configure(tool for tool in catalog.tools if isinstance(tool, McpTool))
        self.catalog.current = self._view(catalog)
        self.hub.configure(catalog)
        self.configured_at = int(time.time())
        self._configured.set()
        self.sampler.configure(catalog)
        deployed.note(self.config, catalog)
        metrics.introduce(
            (model.name for model in catalog.models),
            (assistant.name for assistant in catalog.assistants),
            (*TOOLS, *(tool.name for tool in catalog.tools)),
        )
        guardrails = [*catalog.guardrails, *(g for a in catalog.assistants for g in a.guardrails or ())]
        metrics.introduce_guardrails((g.check, on, g.action) for g in guardrails for on in g.on)

    async def follow_adapters(self) -> None:
        """Takes the adapters that have become live, and forgets those that no longer are."""
        if await self.live_models.refresh():
            live = self.live_models.adapters
            self.engines.adapt(live)
            self.catalog.current = replace(self.catalog.current, router=self._router(self._configuration))

    async def _keep_following(self) -> None:
        """Follows the live adapters. An error, of a file for example, is logged; the next turn tries again."""
        while True:
            try:
                await self.follow_adapters()
                await self.live.keep_ready(list(self.live_models.bounds))
                await self.hub.versions.keep(self.live_models.bounds)
            except Exception:
                log.exception("the live adapters cannot be followed")
            await asyncio.sleep(INTERVAL_S)

    async def authenticate(self, authorization: str | None, address: str | None = None) -> Principal:
        """Returns the caller for an `Authorization` header; raises as `Identity.authenticate`."""
        return await self.identity.authenticate(authorization, address)

    async def caller(self, request: Request) -> Principal:
        """Returns the caller of a request: by its `Authorization` header, or else by a browser's session.

        Raises `AuthenticationError`, `LockedOut`, `ProviderUnavailable`, and `Forged`.
        """
        authorization = authorization_of(request)
        if authorization is None:
            signed_in = await self.browser.caller(request.method, request.headers, request.cookies)
            if signed_in is not None:
                return signed_in
        return await self.authenticate(authorization, address_of(request.scope, self.config.trusted_proxies))

    async def readiness(self) -> dict[str, bool]:
        """Returns whether each part that requests need is available."""
        return {
            "catalog": bool(self.catalog.current.router.listed),
            "store": await self._store_answers(),
            "retrieval": await self.retrieval.reachable(),
        }

    async def _store_answers(self) -> bool:
        try:
            await self.database.check()
        except StoreUnavailable:
            return False
        return True

    async def close(self) -> None:
        """Releases jobs in progress, closes connections and stops what was started."""
        tasks = [*self._upkeep, *([self._working] if self._working is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._upkeep:
            await self.audit.flush()
        await self.detaching.close()
        await self.peers.close()
        await self.app_gate.close()
        await self.sandbox.close()
        await self.mcp.close()
        await self.upstream.close()
        await self.prometheus.close()
        for provider in self.providers:
            await provider.close()
        await self.keeper.close()
        await self.database.close()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)
