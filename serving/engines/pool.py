"""The gateway's access to engines: leases of Serve replicas, and remote endpoints with a limit of requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, Protocol

from serving.config import (
    AnsweringModel,
    Catalog,
    HostedModel,
    KServeModel,
    RayServeModel,
    RemoteCache,
    RemoteModel,
    names,
)
from serving.config.serve_document import model_application
from serving.core.principal import Principal
from serving.engines import kserve
from serving.engines.adapters.errors import AdapterNotLoaded
from serving.engines.endpoint import Endpoint, EngineBusy, EngineUnavailable
from serving.security.prompt_cache import CacheOwner, CacheOwners
from serving.store.objects.live_adapters import LiveAdapter

LEASES = 16
"""Maximum number of lease attempts until one is of a usable replica.

Serve gives a lease to the replica with the shorter queue. The queue of a replica whose engine is gone is short until
Serve notices, so rejected leases are held to lengthen it.
"""


class Handle(Protocol):
    """The part of a Serve deployment handle that a lease needs."""

    def options(self, *, stream: bool) -> Any:
        """Returns a handle with streaming calls."""


class Engines:
    """All models of the catalogue, by name.

    `handle_of` returns the Serve handle of a model's application; it is called at the model's first request, since the
    application can start after the gateway. `owners` determines who shares cached prompts.
    """

    def __init__(self, handle_of: Callable[[str], Handle], lease_timeout_s: float, owners: CacheOwners) -> None:
        self._handle_of = handle_of
        self._owners = owners
        self._lease_timeout_s = lease_timeout_s
        self._models: dict[str, AnsweringModel] = {}
        self._handles: dict[str, Any] = {}
        self._remotes: dict[str, _Remote] = {}
        self._adapters: dict[str, tuple[str, LiveAdapter]] = {}

    def configure(self, catalog: Catalog) -> None:
        """Takes a new catalogue; requests in progress are not affected."""
        models = {name: m for m in catalog.models for name in names(m)}
        remotes = {}
        for name, model in models.items():
            there = kserve.remote(model) if isinstance(model, KServeModel) else model
            if isinstance(there, RemoteModel):
                # What the router reads does not change the endpoint.
                there = there.model_copy(update={"price": None, "objectives": None})
                known = self._remotes.get(name)
                remotes[name] = known if known and known.model == there else _Remote(there)
        self._models, self._remotes = models, remotes
        self._handles = {name: h for name, h in self._handles.items() if name in models}

    def adapt(self, live: Iterable[tuple[str, LiveAdapter]]) -> None:
        """Takes the adapters that are live now, each with the name of its model."""
        self._adapters = {adapter.name: (base, adapter) for base, adapter in live}

    def context(self, name: str) -> int | None:
        """Returns the maximum number of tokens of a request to a model and its answer, None if it is unknown."""
        remote, model = self._remotes.get(name), self._models.get(name)
        if remote is not None:
            return remote.model.context
        return model.request_context if isinstance(model, RayServeModel) else None

    @contextlib.asynccontextmanager
    async def endpoint(self, name: str, caller: Principal, lost: Collection[str] = ()) -> AsyncIterator[Endpoint]:
        """Yields an endpoint of the model `name` for one request of `caller`, but no replica whose URL is in `lost`.

        Raises `EngineBusy` or `EngineUnavailable`.
        """
        remote = self._remotes.get(name)
        if remote is not None:
            async with remote.hold() as endpoint:
                yield self._parted(endpoint, remote.model.prompt_cache, caller)
            return
        model, adapter = self._models.get(name), None
        if model is None and (found := self._adapters.get(name)) is not None:
            base, live = found
            # Whatever led here: an adapter can contain its tenants' data.
            if caller.tenant in live.tenants:
                model, adapter = self._models.get(base), name
        if model is None:
            raise EngineUnavailable(f"the model {name} is not deployed")
        if not isinstance(model, RayServeModel):  # a KServe model: remote ones always have an address
            raise EngineUnavailable(f"the address of the model {name} is not known yet")
        async with self._lease(name, model, self._owners.owner(caller), lost, adapter) as endpoint:
            yield endpoint

    def _parted(self, endpoint: Endpoint, cache: RemoteCache, caller: Principal) -> Endpoint:
        """Returns a remote endpoint whose requests separate prompt caches by owner, as far as the engine
        supports it.
        """
        if cache == "own":
            return replace(endpoint, counted=True)
        if cache == "salted":
            return replace(endpoint, beside=_salted(self._owners.owner(caller)), counted=self._owners.counted)
        return replace(endpoint, beside={"cache_prompt": False}) if cache == "off" else endpoint

    @contextlib.asynccontextmanager
    async def _lease(
        self, name: str, model: HostedModel, owner: CacheOwner, lost: Collection[str], adapter: str | None
    ) -> AsyncIterator[Endpoint]:
        """Leases a replica of `model`; `name` is that of the model or of one of its adapters, and `adapter` one that
        its replicas load while they serve.
        """
        generator, granted = await self._granted(name, model, owner, lost, adapter)
        try:
            headers = {"Authorization": f"Bearer {granted['key']}"}
            # Engines close idle connections without notice: one more attempt before the first byte.
            yield Endpoint(
                granted["url"],
                name,
                headers,
                retries=1,
                text_only=model.text_only,
                context=model.request_context,
                tokenizer=model.tokenizer,
                leased=True,
                replica=granted.get("replica"),
                beside=_cache_fields(model, owner, granted),
                counted=self._owners.counted,
                served=model.name,
            )
        finally:
            # Dropping the generator would leave the replica's slot occupied: only cancel() frees it.
            generator.cancel()

    async def _granted(
        self, name: str, model: HostedModel, owner: CacheOwner, lost: Collection[str], adapter: str | None
    ) -> tuple[Any, dict[str, Any]]:
        """Returns a lease and the granted endpoint. Leases of lost replicas, and of those without the adapter, are held
        meanwhile, so that Serve tries others.
        """
        failure: Exception | None = None
        asked = (owner.name, owner.user, *([adapter] if adapter is not None else []))
        with contextlib.ExitStack() as passed_over:
            for _ in range(LEASES):
                generator = self._handle(model.name).lease.remote(*asked)
                try:
                    granted: dict[str, Any] = await asyncio.wait_for(anext(generator), self._lease_timeout_s)
                except TimeoutError:
                    generator.cancel()
                    raise EngineBusy(f"no replica of {name} took the request in {self._lease_timeout_s:g} s") from None
                except asyncio.CancelledError:
                    generator.cancel()
                    raise
                except Exception as e:
                    generator.cancel()
                    self._handles.pop(model.name, None)  # an update may have given the deployment another name
                    failure = e
                    continue
                if "lacks" in granted:
                    failure = AdapterNotLoaded(f"a replica has not loaded {granted['lacks']}")
                elif granted["url"] not in lost:
                    return generator, granted
                passed_over.callback(generator.cancel)
        raise EngineUnavailable(f"no replica of {name} can take the request") from failure

    def _handle(self, name: str) -> Any:
        handle = self._handles.get(name)
        if handle is None:
            try:
                handle = self._handle_of(model_application(name)).options(stream=True)
            except Exception as e:
                raise EngineUnavailable(f"the model {name} is not running") from e
            self._handles[name] = handle
        return handle


def _cache_fields(model: HostedModel, owner: CacheOwner, granted: dict[str, Any]) -> dict[str, Any]:
    if model.cache_owner == "salt":
        return _salted(owner)
    return _slotted(granted) if model.cache_owner == "slot" else {}


def _salted(owner: CacheOwner) -> dict[str, Any]:
    """Returns the salt that vLLM hashes into each block of its prefix cache."""
    return {"cache_salt": owner.name}


def _slotted(granted: dict[str, Any]) -> dict[str, Any]:
    """Returns the slot of llama.cpp that the lease is for, and the scale of each adapter of that server."""
    slot = {"id_slot": granted["slot"]} if "slot" in granted else {}
    return {**slot, "lora": granted["lora"]} if "lora" in granted else slot


class _Remote:
    def __init__(self, model: RemoteModel) -> None:
        self.model = model
        self._in_flight = 0

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[Endpoint]:
        model = self.model
        if self._in_flight >= model.max_in_flight:
            raise EngineBusy(f"{model.name} already answers {model.max_in_flight} requests")
        self._in_flight += 1
        try:
            yield self._endpoint()
        finally:
            self._in_flight -= 1

    def _endpoint(self) -> Endpoint:
        model = self.model
        headers = {}
        if model.api_key is not None:
            try:
                # Read for each request, so that a rotated key needs no restart.
                headers["Authorization"] = f"Bearer {model.api_key.read()}"
            except LookupError as e:
                raise EngineUnavailable(f"the key of {model.name} cannot be read") from e
        return Endpoint(
            model.url,
            model.model or model.name,
            headers,
            model.retries,
            model.connect_timeout_s,
            model.first_byte_timeout_s,
            model.idle_timeout_s,
            context=model.context,
            tokenizer=model.tokenizer,
            served=model.name,
        )
