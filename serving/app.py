"""The Serve applications: builders that Serve's declarative document names by import path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import TypeAdapter
from ray import serve
from ray.serve import Application

from serving.config import Catalog, HostedModel, ServingConfig
from serving.engines import replica_class
from serving.telemetry import logs


class Model:
    """A model replica: see `serving.engines`."""

    def __init__(self, config: HostedModel) -> None:
        _keep_log()
        self._replica = replica_class(config.engine)(config)

    async def lease(self, owner: str, user: str) -> AsyncIterator[dict[str, Any]]:
        """Yields the replica's address once and holds a place until cancelled."""
        async for granted in self._replica.lease(owner, user):
            yield granted

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


@serve.ingress()
class Gateway:
    """A gateway replica: the HTTP surface. It keeps nothing that a restart would lose."""

    async def __init__(self, config: ServingConfig, retrieval: Any) -> None:  # type: ignore[misc]  # Serve awaits it
        from serving.api.services import Services
        from serving.engines.replica import node_address

        _keep_log()
        self._services = Services(config, retrieval, serve.get_app_handle, node_address())
        await self._services.start()

    async def reconfigure(self, catalog: dict[str, Any]) -> None:
        """Takes in a new catalogue without a restart."""
        # A coroutine, since Serve would call a plain method in another thread, and services belong to the loop.
        self._services.configure(Catalog.model_validate(catalog))

    def __serve_build_asgi_app__(self) -> Any:
        from serving.api.app import Api

        return Api(self._services)


def gateway_application(args: dict[str, Any]) -> Application:
    """Builds the application that holds the gateway and retrieval; `args` is a `ServingConfig`."""
    config = ServingConfig.model_validate(args)
    return _bind(Gateway, config, _bind(Retrieval, config))


def model_application(args: dict[str, Any]) -> Application:
    """Builds the application of one model; `args["model"]` is a `HostedModel`."""
    model: HostedModel = TypeAdapter(HostedModel).validate_python(args["model"])
    return _bind(Model, model)


def _keep_log() -> None:
    replica = serve.get_replica_context()
    fields = {"application": replica.app_name, "deployment": replica.deployment, "replica": replica.replica_tag}
    logs.keep(f"headrace_{'_'.join(fields.values())}.log", fields)


def _bind(deployment: type, *args: Any) -> Application:
    decorated: Any = serve.deployment(deployment)
    application: Application = decorated.bind(*args)
    return application
