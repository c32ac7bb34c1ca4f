"""The Serve configuration document: what Ray Serve's declarative API (and KubeRay's `serveConfigV2`) takes.

One application for the gateway and retrieval, and one per model. Serve hashes an application's import path,
arguments and environment into one version for all of its deployments, so the catalogue travels in
`user_config`, which replicas take in without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from serving.config import Catalog, Hosted, HostedModel, RayServeModel, Replicas, ServingConfig

DRAIN_S = 600
"""How long a replica that an update replaces may finish what it has begun; longer streams are cut off then."""

APPLICATION = "headrace"
"""Name of the application that holds the gateway and retrieval."""


def model_application(name: str) -> str:
    """Name of the Serve application that hosts model `name`."""
    return f"model-{name}"


POOL_LABEL = "headrace.io/pool"
"""Label of a Ray node: the pool that the node belongs to."""

PLACEMENT = set(Hosted.model_fields)
"""Where replicas run is Serve's business: in what replicas are told it would only restart them."""

BEFOREHAND = {"embedding", "geometry", "full_context_requests", "max_surge_percent", "price", "access", "tools"}
"""What a model's replica is never told: it serves the fit check, the roll-out and the gateway."""

UNTOLD: dict[str, Any] = {**dict.fromkeys(PLACEMENT | BEFOREHAND, True), "loras": {"__all__": {"access"}}}
"""Of a model's settings, those that are not among its replica's arguments: a change of them restarts nothing."""


UNREAD = {"pool", "archive"}
"""Of a model's settings, those that the gateway does not need: where it runs, and an app's source."""


def serve_document(
    config: ServingConfig,
    catalog: Catalog,
    *,
    host: str,
    port: int,
    env: Mapping[str, str] | None = None,
    on_pools: bool = False,
    proxy_location: Literal["HeadOnly", "EveryNode"] = "HeadOnly",
) -> dict[str, Any]:
    """Returns the document for `PUT /api/serve/applications/`; a pure function of its arguments.

    `env` is given to the replicas of every application (never secrets: the document can be read back).
    `on_pools` binds each deployment to the nodes whose label `POOL_LABEL` names its pool.
    """
    models = [m for m in catalog.models if isinstance(m, RayServeModel)]
    return {
        "proxy_location": proxy_location,
        # One line per request is the gateway's own business; Serve's costs 3 % of a relay's time.
        "logging_config": {"enable_access_log": False, "encoding": "JSON"},
        "http_options": {"host": host, "port": port},
        "applications": [
            _gateway(config, catalog, env or {}, on_pools),
            *(_model(config, m, env or {}, on_pools) for m in models),
        ],
    }


def _gateway(config: ServingConfig, catalog: Catalog, env: Mapping[str, str], on_pools: bool) -> dict[str, Any]:
    limits = config.limits
    return {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "serving.app:gateway_application",
        "args": config.model_dump(mode="json", exclude={"gateway": PLACEMENT, "retrieval": PLACEMENT}),
        "runtime_env": {"env_vars": dict(env)},
        "deployments": [
            {
                "name": "Gateway",
                **_number(config.gateway),
                # Admission is our own, with OpenAI's error shape: Serve's must never be the first to refuse.
                "max_ongoing_requests": 4 * (limits.in_flight + limits.queue),
                "graceful_shutdown_timeout_s": DRAIN_S,
                "max_surge_percent": 100,
                "ray_actor_options": _actor(config.gateway, on_pools),
                "user_config": catalog.model_dump(mode="json", exclude={"models": {"__all__": UNREAD}}),
                # Below this level Serve builds a log record per request, and then drops it: 2 % of a relay's time.
                "logging_config": {"enable_access_log": False, "encoding": "JSON", "log_level": "WARNING"},
            },
            {
                "name": "Retrieval",
                **_number(config.retrieval),
                "max_ongoing_requests": 64,
                "max_surge_percent": 100,
                "ray_actor_options": _actor(config.retrieval, on_pools),
                "user_config": catalog.model_dump(
                    mode="json", include={"models": True, "search": True}, exclude={"models": {"__all__": UNREAD}}
                ),
            },
        ],
    }


def _model(config: ServingConfig, model: HostedModel, env: Mapping[str, str], on_pools: bool) -> dict[str, Any]:
    return {
        "name": model_application(model.name),
        "route_prefix": None,
        "import_path": "serving.app:model_application",
        "args": {
            "model": model.model_dump(mode="json", exclude=UNTOLD),
            "multiprocess_dir": config.multiprocess_dir,
        },
        "runtime_env": {"env_vars": dict(env)},
        "deployments": [
            {
                "name": "Model",
                **_number(model),
                # One lease is one request; the engine queues those beyond its slots.
                "max_ongoing_requests": 2 * model.concurrency,
                "graceful_shutdown_timeout_s": DRAIN_S,
                "max_surge_percent": model.surge_percent,
                "ray_actor_options": _actor(model, on_pools),
            }
        ],
    }


def _number(hosted: Replicas | HostedModel) -> dict[str, Any]:
    if hosted.autoscaling is None:
        return {"num_replicas": hosted.replicas}
    return {"autoscaling_config": hosted.autoscaling.model_dump(mode="json")}


def _actor(hosted: Replicas | HostedModel, on_pools: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": hosted.cpus}
    if isinstance(hosted, RayServeModel) and hosted.gpus:
        options["num_gpus"] = hosted.gpus
    if on_pools:
        options["label_selector"] = {POOL_LABEL: hosted.pool}
    return options
