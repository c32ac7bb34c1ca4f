"""The Serve configuration document: the input of Ray Serve's declarative API (and KubeRay's `serveConfigV2`).

It has one application for the gateway and retrieval, one per model, and one that tunes models if that is enabled. Serve
hashes an application's import path, arguments and environment into one version for all of its deployments, so the
catalogue is in `user_config`, which replicas apply without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from serving.config import Catalog, Hosted, HostedModel, RayServeModel, Replicas, ServingConfig

DRAIN_S = 600
"""Drain time of a replica that an update replaces; longer streams are cut off then."""

APPLICATION = "headrace"
"""Name of the application with the gateway and retrieval."""


TUNING_APPLICATION = "tuning"
"""Name of the application that tunes models."""


def model_application(name: str) -> str:
    """Returns the name of the Serve application of model `name`."""
    return f"model-{name}"


POOL_LABEL = "headrace.io/pool"
"""Label of a Ray node with the name of its pool."""

PLACEMENT = set(Hosted.model_fields)
"""Placement concerns only Serve: in the arguments of replicas it would only restart them."""

BEFOREHAND = {
    *("access", "embedding", "full_context_requests", "geometry", "grounded"),
    *("max_surge_percent", "objectives", "price", "tools"),
    *("answer_tokens", "repeat_penalty"),
}
"""Settings that a model's replica does not need: they are for checks, the roll-out and the gateway."""

UNTOLD: dict[str, Any] = {
    **dict.fromkeys(PLACEMENT | BEFOREHAND, True),
    "loras": {"__all__": {"access"}},
    "adapters": {"per_tenant"},
}
"""Settings of a model that are not among its replica's arguments: changing them restarts nothing."""


TUNING_CPUS = 0.1
"""CPUs that Ray reserves for the process that starts jobs."""


UNREAD = {"pool", "archive"}
"""Settings of a model that the gateway does not need: its placement, and an app's source."""


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

    `env` is set for the replicas of every application (never secrets: the document can be read back). `on_pools` binds
    each deployment to nodes whose label `POOL_LABEL` names its pool.
    """
    models = [m for m in catalog.models if isinstance(m, RayServeModel)]
    return {
        "proxy_location": proxy_location,
        # The gateway logs one line per request itself; Serve's line costs 3 % of a relay's time.
        "logging_config": {"enable_access_log": False, "encoding": "JSON"},
        "http_options": {"host": host, "port": port},
        "applications": [
            _gateway(config, catalog, env or {}, on_pools),
            *(_model(config, m, env or {}, on_pools) for m in models),
            *([_tuning(config, catalog, env or {})] if config.tuning.enabled else []),
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
                # The gateway has its own admission, with OpenAI's error format: Serve's must never reject first.
                "max_ongoing_requests": 4 * (limits.in_flight + limits.queue),
                "graceful_shutdown_timeout_s": DRAIN_S,
                "max_surge_percent": 100,
                "ray_actor_options": _actor(config.gateway, on_pools),
                "user_config": catalog.model_dump(mode="json", exclude={"models": {"__all__": UNREAD}}),
                # Below this level Serve creates a log record per request and then drops it: 2 % of a relay's time.
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
    # The hub's adapters are in the store; other replicas need not restart when its settings change.
    adapted = getattr(model, "adapters", None) is not None
    return {
        "name": model_application(model.name),
        "route_prefix": None,
        "import_path": "serving.app:model_application",
        "args": {
            "model": model.model_dump(mode="json", exclude=UNTOLD),
            "multiprocess_dir": config.multiprocess_dir,
            **({"store": config.store.model_dump(mode="json")} if adapted else {}),
        },
        "runtime_env": {"env_vars": dict(env)},
        "deployments": [
            {
                # Ray's metrics have the deployment's name, and not all of them the application's.
                "name": model.name,
                **_number(model),
                # One lease is one request; the engine queues those beyond its slots.
                "max_ongoing_requests": 2 * model.concurrency,
                "graceful_shutdown_timeout_s": DRAIN_S,
                "max_surge_percent": model.surge_percent,
                "ray_actor_options": _actor(model, on_pools),
            }
        ],
    }


def _tuning(config: ServingConfig, catalog: Catalog, env: Mapping[str, str]) -> dict[str, Any]:
    store = config.store.model_dump(mode="json")
    return {
        "name": TUNING_APPLICATION,
        "route_prefix": None,
        "import_path": "serving.app:tuning_application",
        "args": {
            "store": store,
            "tuning": config.tuning.model_dump(mode="json"),
            "multiprocess_dir": config.multiprocess_dir,
        },
        "runtime_env": {"env_vars": dict(env)},
        "deployments": [
            {
                "name": "TuningRunner",
                "num_replicas": 1,
                # Its jobs are processes of their own, which take what nobody else uses.
                "ray_actor_options": {"num_cpus": TUNING_CPUS},
                "user_config": catalog.model_dump(
                    mode="json", include={"models": True}, exclude={"models": {"__all__": UNREAD}}
                ),
            }
        ],
    }


def _number(hosted: Replicas | HostedModel) -> dict[str, Any]:
    if (autoscaling := hosted.resolved_autoscaling()) is None:
        return {"num_replicas": hosted.replicas}
    return {"autoscaling_config": autoscaling.model_dump(mode="json", exclude={"measured"})}


def _actor(hosted: Replicas | HostedModel, on_pools: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": hosted.cpus}
    if isinstance(hosted, RayServeModel) and hosted.gpus:
        options["num_gpus"] = hosted.gpus
    if on_pools:
        options["label_selector"] = {POOL_LABEL: hosted.pool}
    return options
