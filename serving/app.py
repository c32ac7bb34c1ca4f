"""The Serve applications: builders that Serve's declarative document names by import path."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from typing import Any

from pydantic import TypeAdapter
from ray import serve
from ray.serve import Application

from serving.config import Catalog, HostedModel, ServingConfig, Store, Tuning
from serving.engines import replica_class
from serving.engines.measures.lease_times import LeaseTimes
from serving.store.objects import data
from serving.store.objects.live_adapters import LiveSets
from serving.telemetry import logs

RUNNING: Any = "RUNNING"
"""Serve's name for replicas that take requests, in `serve.status()`."""


class Model:
    """A model replica: see `serving.engines`."""

    def __init__(self, config: HostedModel, store: Store | None = None) -> None:
        self._id = _keep_log()
        self._times = LeaseTimes(config.name, self._id or str(os.getpid()))
        make = replica_class(config.engine)
        self._replica = make(config) if store is None else make(config, sets=LiveSets(data.place(store, data.HUB)))

    async def lease(self, owner: str, user: str, adapter: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yields the replica's address and id once and holds a place until cancelled."""
        began: float | None = None
        try:
            # Only engines with adapters take the third argument.
            async for granted in self._replica.lease(owner, user, *(() if adapter is None else (adapter,))):
                began = None if "lacks" in granted else time.monotonic()
                yield granted if self._id is None else {**granted, "replica": self._id}
        finally:
            if began is not None:
                self._times.ended(time.monotonic() - began)

    async def check_health(self) -> None:
        """Raises when the engine does not answer."""
        await self._replica.check_health()


class Retrieval:
    """A retrieval replica: see `serving.retrieval.replica`."""

    async def __init__(self, config: ServingConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        from serving.retrieval.replica import RetrievalReplica

        _keep_log()
        self._replica = RetrievalReplica(config, serve.get_app_handle)
        self._started = False

    async def reconfigure(self, catalog: dict[str, Any]) -> None:
        """Takes in the models, and which of them search, without a restart; the replica works from the first on."""
        self._replica.configure(Catalog.model_validate(catalog))
        if not self._started:  # before, it would begin to build every index for the embedder that is the default
            await self._replica.start()
            self._started = True

    async def call(self, method: str, *args: Any) -> Any:
        """Runs one of the replica's public methods."""
        return await getattr(self._replica, method)(*args)

    async def check_health(self) -> None:
        """Raises when the replica cannot work."""
        await self._replica.check_health()


class TuningRunner:
    """The process that runs the hub's jobs: see `serving.hub.jobs.replica`."""

    async def __init__(self, store: Store, tuning: Tuning) -> None:  # type: ignore[misc]  # Serve awaits it
        from serving.hub.jobs.replica import TuningReplica

        _keep_log()
        self._replica = TuningReplica(store, tuning)
        self._started = False

    async def reconfigure(self, catalog: dict[str, Any]) -> None:
        """Takes in the models that jobs may begin with, without a restart; the replica works from the first on."""
        self._replica.configure(Catalog.model_validate(catalog))
        if not self._started:
            await self._replica.start()
            self._started = True

    async def check_health(self) -> None:
        """Raises when the replica cannot work."""
        await self._replica.check_health()


@serve.ingress()
class Gateway:
    """A gateway replica: the HTTP surface. It keeps nothing that a restart would lose."""

    async def __init__(self, config: ServingConfig, retrieval: Any) -> None:  # type: ignore[misc]  # Serve awaits it
        from serving.api.services import Services
        from serving.engines.replica import node_address

        _keep_log()
        self._services = Services(config, retrieval, serve.get_app_handle, node_address())
        self._services.replicas.count_by(running_replicas)
        await self._services.start()

    async def reconfigure(self, catalog: dict[str, Any]) -> None:
        """Takes in a new catalogue without a restart."""
        # A coroutine, since Serve would call a plain method in another thread, and services belong to the loop.
        self._services.configure(Catalog.model_validate(catalog))
        await self._services.hub.load_releases()
        await self._services.follow_adapters()

    def __serve_build_asgi_app__(self) -> Any:
        from serving.api.app import Api

        return Api(self._services)


def running_replicas() -> dict[str, int]:
    """Returns the number of replicas in the state RUNNING, by application, as Serve's controller counts them."""
    return {
        name: sum(one.replica_states.get(RUNNING, 0) for one in application.deployments.values())
        for name, application in serve.status().applications.items()
    }


def gateway_application(args: dict[str, Any]) -> Application:
    """Builds the application that holds the gateway and retrieval; `args` is a `ServingConfig`."""
    config = ServingConfig.model_validate(args)
    return _bind(Gateway, config, _bind(Retrieval, config))


def model_application(args: dict[str, Any]) -> Application:
    """Builds the application of one model; `args["model"]` is a `HostedModel`, and `args["store"]` has its adapters."""
    model: HostedModel = TypeAdapter(HostedModel).validate_python(args["model"])
    return _bind(Model, model, Store.model_validate(args["store"]) if "store" in args else None, name=model.name)


def tuning_application(args: dict[str, Any]) -> Application:
    """Builds the application that tunes models; `args` has a `Store` and a `Tuning`."""
    store, tuning = Store.model_validate(args["store"]), Tuning.model_validate(args["tuning"])
    return _bind(TuningRunner, store, tuning)


def _keep_log() -> str | None:
    """Makes this replica's log a file; returns the id that Serve gave the replica."""
    replica = serve.get_replica_context()
    fields = {"application": replica.app_name, "deployment": replica.deployment, "replica": replica.replica_tag}
    logs.keep(f"headrace_{'_'.join(fields.values())}.log", fields)
    return fields["replica"]


def _bind(deployment: type, *args: Any, name: str | None = None) -> Application:
    """Binds a deployment, whose name in Serve's document is `name`, by default that of its class."""
    decorated: Any = serve.deployment(deployment)
    if name is not None:
        decorated = decorated.options(name=name)
    application: Application = decorated.bind(*args)
    return application
