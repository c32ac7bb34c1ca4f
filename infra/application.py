"""Converts StackConfig to the configuration and catalogue of the Serve application, the same for all targets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from infra import apps
from infra.config import StackConfig
from infra.gpu import capability
from infra.mistakes import Mistake
from serving.config import (
    Catalog,
    Hosted,
    Model,
    PrometheusServer,
    RestrictedCollection,
    SecretRef,
    ServingConfig,
    SqlTool,
    Store,
    VllmModel,
    same_database,
)

_Placed = TypeVar("_Placed", bound=BaseModel)


def build_digest(checkout: Path, *packages: str) -> str:
    """Returns a digest of the program in these packages; a changed program has another digest and is redeployed."""
    digest = hashlib.sha256()
    # Static files that a page serves to browsers are part of the program.
    patterns = [f"{package}/**/{files}" for package in packages for files in ("*.py", "static/*")]
    sources = [file for pattern in patterns for file in sorted(checkout.glob(pattern))]
    for file in (*sources, checkout / "requirements/serving.txt"):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(checkout)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def catalog(config: StackConfig, checkout: Path) -> Catalog:
    """Returns the catalogue, which changes without a restart: models, aliases, assistants, tools, collections."""
    restricted = [RestrictedCollection(name=k.name, access=k.access) for k in config.knowledge if k.access is not None]
    return Catalog(
        search=config.retrieval.search,
        models=tuple(_with_target(model) for model in (*_models(config), *apps.models(config, checkout))),
        aliases=config.aliases,
        assistants=config.assistants,
        tools=config.tools,
        collections=tuple(restricted) or None,
        guardrails=config.guardrails,
        instructions=config.instructions,
    )


def _models(config: StackConfig) -> Iterator[Model]:
    """Yields the models with the arguments that their GPUs need."""
    for model in config.models:
        arguments = capability.arguments(config, model) if isinstance(model, VllmModel) else ()
        yield model.model_copy(update={"arguments": arguments}) if arguments else model


def _with_target(hosted: _Placed) -> _Placed:
    """Returns a model, or the size of a deployment, with the target of its autoscaler if it has one."""
    if not isinstance(hosted, Hosted) or hosted.autoscaling is None:
        return hosted
    return hosted.model_copy(update={"autoscaling": hosted.resolved_autoscaling()})


def scaling_lines(config: StackConfig) -> Iterator[str]:
    """Yields the target of each autoscaler of a model, and where it comes from."""
    for model in (*config.models, *config.apps):
        if isinstance(model, Hosted) and (target := model.scaling_target()) is not None:
            yield f"Autoscaling of '{model.name}': target_ongoing_requests {target.requests:g}, {target.origin}."


def own_database_mistakes(config: StackConfig, database: str) -> list[Mistake]:
    """Reports SQL tools on the stack's own `database`, which the gateway rejects too."""
    problem = "is the stack's own database, which holds the data of all tenants"
    return [
        Mistake(f"tools[{i}].database", problem, "name another database")
        for i, tool in enumerate(config.tools)
        if isinstance(tool, SqlTool) and same_database(tool.database, database)
    ]


def serving_config(
    config: StackConfig,
    *,
    store: Store,
    key_secret: Callable[[int], SecretRef],
    api_key: SecretRef,
    multiprocess_dir: str | None,
    url: str,
    prometheus: PrometheusServer,
) -> ServingConfig:
    """Returns the serving configuration, whose changes restart the gateways.

    `url` is the API's address for browsers, empty if there is none. `key_secret` maps a number to the reference of
    that key secret. `prometheus` has the stack's metrics.
    """
    oidc = config.oidc
    if not oidc.url:
        oidc = oidc.model_copy(update={"url": url})
    return ServingConfig(
        store=store,
        key_secret=key_secret(config.key_secret.revision),
        key_secret_previous=key_secret(config.key_secret.previous) if config.key_secret.previous else None,
        bootstrap_key=api_key,
        limits=config.limits,
        capture=config.capture,
        store_false=config.store_false,
        retention=config.retention,
        quotas=config.quotas,
        prompt_cache=config.prompt_cache,
        drop_unsupported_params=config.drop_unsupported_params,
        trusted_proxies=_proxies(config),
        oidc=oidc,
        sign_in_links=config.sign_in_links,
        cors=config.cors,
        tracing=config.tracing,
        prometheus=prometheus,
        tuning=config.tuning,
        gateway=_with_target(config.gateway),
        retrieval=_with_target(config.retrieval.size),
        multiprocess_dir=multiprocess_dir,
    )


def _proxies(config: StackConfig) -> int:
    """Returns the number of proxies in front of HAProxy, including the stack's ingress."""
    return config.trusted_proxies + (config.ingress.kind != "none")
