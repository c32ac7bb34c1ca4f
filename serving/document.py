"""The Serve configuration document: what Ray Serve's declarative API (and KubeRay's `serveConfigV2`) takes.

One application for the gateway and retrieval, and one per model. Serve hashes an application's import path,
arguments and environment into one version for all of its deployments, so the catalogue travels in
`user_config`, which replicas take in without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.config import Catalog, LlamaCppModel, ServingConfig

DRAIN_S = 600
"""How long a replica that an update replaces may finish what it has begun; longer streams are cut off then."""

APPLICATION = "headrace"
"""Name of the application that holds the gateway and retrieval."""


def model_application(name: str) -> str:
    """Name of the Serve application that hosts model `name`."""
    return f"model-{name}"


def serve_document(
    config: ServingConfig, catalog: Catalog, *, host: str, port: int, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Returns the document for `PUT /api/serve/applications/`; a pure function of its arguments.

    `env` is given to the replicas of every application (never secrets: the document can be read back).
    """
    models = [m for m in catalog.models if isinstance(m, LlamaCppModel)]
    return {
        "proxy_location": "HeadOnly",
        # One line per request is the gateway's own business; Serve's costs 3 % of a relay's time.
        "logging_config": {"enable_access_log": False},
        "http_options": {"host": host, "port": port},
        "applications": [
            _gateway(config, catalog, env or {}),
            *(_model(config, m, env or {}) for m in models),
        ],
    }


def _gateway(config: ServingConfig, catalog: Catalog, env: Mapping[str, str]) -> dict[str, Any]:
    limits = config.limits
    return {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "serving.app:gateway_application",
        "args": config.model_dump(mode="json"),
        "runtime_env": {"env_vars": dict(env)},
        "deployments": [
            {
                "name": "Gateway",
                "num_replicas": config.gateway.replicas,
                # Admission is our own, with OpenAI's error shape: Serve's must never be the first to refuse.
                "max_ongoing_requests": 4 * (limits.in_flight + limits.queue),
                "graceful_shutdown_timeout_s": DRAIN_S,
                "max_surge_percent": 100,
                "ray_actor_options": {"num_cpus": config.gateway.cpus},
                "user_config": catalog.model_dump(mode="json"),
                # Below this level Serve builds a log record per request, and then drops it: 2 % of a relay's time.
                "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
            },
            {
                "name": "Retrieval",
                "num_replicas": config.retrieval.replicas,
                "max_ongoing_requests": 64,
                "max_surge_percent": 100,
                "ray_actor_options": {"num_cpus": config.retrieval.cpus},
            },
        ],
    }


def _model(config: ServingConfig, model: LlamaCppModel, env: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": model_application(model.name),
        "route_prefix": None,
        "import_path": "serving.app:model_application",
        "args": {"model": model.model_dump(mode="json"), "multiprocess_dir": config.multiprocess_dir},
        "runtime_env": {"env_vars": dict(env)},
        "deployments": [
            {
                "name": "Model",
                "num_replicas": model.replicas,
                # One lease is one request; the engine queues those beyond its slots.
                "max_ongoing_requests": 2 * model.slots,
                "graceful_shutdown_timeout_s": DRAIN_S,
                "max_surge_percent": 100,
                "ray_actor_options": {"num_cpus": model.cpus},
            }
        ],
    }
