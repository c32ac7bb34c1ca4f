"""StackConfig -> what the Serve application is told. Pure functions, the same for every target."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from infra.config import StackConfig
from infra.mistakes import Mistake
from serving.config import Catalog, RestrictedCollection, SecretRef, ServingConfig, SqlTool, Store, same_database


def build(checkout: Path, *packages: str) -> str:
    """Names a program of these folders by its content: another program is another name, and an update."""
    digest = hashlib.sha256()
    # What a page gives to browsers is a part of its program.
    patterns = [f"{package}/**/{files}" for package in packages for files in ("*.py", "static/*")]
    sources = [file for pattern in patterns for file in sorted(checkout.glob(pattern))]
    for file in (*sources, checkout / "requirements/serving.txt"):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(checkout)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def catalog(config: StackConfig) -> Catalog:
    """What changes often: models, aliases, assistants and their tools, and who may read which collection."""
    restricted = [RestrictedCollection(name=k.name, access=k.access) for k in config.knowledge if k.access is not None]
    return Catalog(
        models=config.models,
        aliases=config.aliases,
        assistants=config.assistants,
        tools=config.tools,
        collections=tuple(restricted) or None,
        guardrails=config.guardrails,
        instructions=config.instructions,
    )


def own_database(config: StackConfig, database: str) -> list[Mistake]:
    """Tools that would read the stack's own `database`; the gateway refuses them too."""
    problem = "is the stack's own database, where the words of all tenants are"
    return [
        Mistake(f"tools[{i}].database", problem, "name another database")
        for i, tool in enumerate(config.tools)
        if isinstance(tool, SqlTool) and same_database(tool.database, database)
    ]


def serving(
    config: StackConfig,
    *,
    store: Store,
    key_secret: Callable[[int], SecretRef],
    api_key: SecretRef,
    multiprocess_dir: str | None,
    url: str,
) -> ServingConfig:
    """What changes seldom. `url` is where browsers reach the API, empty when none does.

    `key_secret` says where the key secret of a number is.
    """
    oidc = config.oidc
    if oidc.issuers and not oidc.url:
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
        trusted_proxies=_proxies(config),
        oidc=oidc,
        cors=config.cors,
        tracing=config.tracing,
        gateway=config.gateway,
        retrieval=config.retrieval,
        multiprocess_dir=multiprocess_dir,
    )


def _proxies(config: StackConfig) -> int:
    """Returns how many proxies stand before HAProxy, the stack's ingress included."""
    return config.trusted_proxies + (config.ingress.kind != "none")
