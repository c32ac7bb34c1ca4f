"""Checks between settings that are each valid by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from infra import apps, edge, volumes
from infra.cluster_config import MOUNTED_SECRETS, Existing
from infra.gpu import capability, cost, fit, placement
from infra.mistakes import Mistake
from infra.nodes.machines import CLOUDS
from infra.scheduling import checks as scheduling
from infra.scheduling import replicas
from serving.config import (
    LOCAL_EMBEDDERS,
    TOOLS,
    KServeModel,
    McpTool,
    RayServeModel,
    SecretRef,
    Strict,
    TenantSecrets,
    VllmModel,
    names,
    never_called,
    wrong_tasks,
)

if TYPE_CHECKING:
    from infra.config import StackConfig


def _names(config: StackConfig) -> list[Mistake]:
    mistakes = []
    seen: dict[str, str] = {}
    for kind in ("models", "apps", "aliases", "assistants"):
        for i, item in enumerate(getattr(config, kind)):
            adapters = item.loras if isinstance(item, VllmModel) else ()
            places = {f"{kind}[{i}].name": item.name} | {
                f"{kind}[{i}].loras[{j}].name": adapter.name for j, adapter in enumerate(adapters)
            }
            for key, name in places.items():
                if name in seen:
                    mistakes.append(Mistake(key, f"'{name}' is already {seen[name]}", "choose another name"))
                seen.setdefault(name, key)
    collections: dict[str, str] = {}
    for i, item in enumerate(config.knowledge):
        key = f"knowledge[{i}].name"
        if item.name in collections:
            problem = f"'{item.name}' is already {collections[item.name]}"
            mistakes.append(Mistake(key, problem, "choose another name"))
        collections.setdefault(item.name, key)
    return mistakes


def _alias_targets(config: StackConfig) -> list[Mistake]:
    apps = [app.name for app in config.apps]
    models = [*(name for m in config.models for name in names(m)), *apps]
    problem = "mixes apps and models, which take different requests"
    found = [
        Mistake.unknown(f"aliases[{i}].{place}", model, "model", models)
        for i, alias in enumerate(config.aliases)
        for place, model in alias.named_models
        if model not in models
    ]
    found += [
        Mistake(f"aliases[{i}].targets", problem, "name apps alone, or models alone")
        for i, alias in enumerate(config.aliases)
        if len({target.model in apps for target in alias.targets}) > 1
    ]
    return found + [
        Mistake(f"aliases[{i}].{place}", "is an app, and releases are of models", "name a model")
        for i, alias in enumerate(config.aliases)
        for place, model in alias.named_models
        if alias.managed is not None and model in apps
    ]


def _cached_prices(config: StackConfig) -> list[Mistake]:
    """Reports prices for cached tokens where their number is not reported to callers, and so never charged."""
    if config.prompt_cache != "tenant":
        return []
    problem = "is never charged: with headrace:prompt_cache tenant, the number of cached tokens is not reported"
    return [
        Mistake(f"models[{i}].price.cached_input", problem, "set headrace:prompt_cache to user, or leave it out")
        for i, model in enumerate(config.models)
        if model.price is not None
        and model.price.cached_input is not None
        and getattr(model, "prompt_cache", None) != "own"
    ]


def _assistant_models(config: StackConfig) -> list[Mistake]:
    apps = {app.name for app in config.apps}
    aliases = [a.name for a in config.aliases if apps.isdisjoint(target.model for target in a.targets)]
    answering = [*(name for m in config.models for name in names(m)), *aliases]
    return [
        Mistake.unknown(f"assistants[{i}].model", assistant.model, "model or alias", answering)
        for i, assistant in enumerate(config.assistants)
        if assistant.model not in answering
    ]


def _assistant_knowledge(config: StackConfig) -> list[Mistake]:
    collections = [k.name for k in config.knowledge]
    return [
        Mistake.unknown(f"assistants[{i}].knowledge[{j}]", name, "collection in headrace:knowledge", collections)
        for i, assistant in enumerate(config.assistants)
        for j, name in enumerate(assistant.knowledge)
        if name not in collections
    ]


def _tool_names(config: StackConfig) -> list[Mistake]:
    names = [tool.name for tool in config.tools]
    known = [*TOOLS, *names]
    mistakes = [
        Mistake(f"tools[{i}].name", f"'{name}' is already tools[{names.index(name)}].name", "choose another name")
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    mistakes += [
        Mistake(
            f"tools[{i}].name", f"'{name}' could be a tool of the MCP server '{server.name}'", "choose another name"
        )
        for server in config.tools
        for i, name in enumerate(names)
        if isinstance(server, McpTool) and name.startswith(f"{server.name}_")
    ]
    return mistakes + [
        Mistake.unknown(f"{kind}[{i}].tools[{j}]", name, "tool", known)
        for kind in ("assistants", "apps")
        for i, each in enumerate(getattr(config, kind))
        for j, name in enumerate(each.tools)
        if name not in known
    ]


def _references(config: StackConfig) -> list[tuple[str, str]]:
    """Returns all references to secrets, as pairs of setting and reference."""
    holders: list[tuple[str, Strict]] = [
        ("database", config.database),
        *((f"models[{i}]", model) for i, model in enumerate(config.models)),
    ]
    holders += [(f"tools[{i}]", tool) for i, tool in enumerate(config.tools)]
    holders += [(f"oidc.issuers[{i}]", issuer) for i, issuer in enumerate(config.oidc.issuers)]
    found = [
        (f"{at}.{name}", value.ref) for at, holder in holders for name, value in holder if isinstance(value, SecretRef)
    ]
    return found + [
        (f"tools[{i}].headers.{name}{place}", ref)
        for i, tool in enumerate(config.tools)
        for name, value in getattr(tool, "headers", {}).items()
        for place, ref in _header_references(value)
    ]


def _header_references(value: SecretRef | TenantSecrets) -> list[tuple[str, str]]:
    if isinstance(value, SecretRef):
        return [("", value.ref)]
    found = [(f".tenants.{tenant}", each.ref) for tenant, each in value.tenants.items()]
    return [*found, (".default", value.default.ref)] if value.default is not None else found


def _unreachable_tools(config: StackConfig) -> list[Mistake]:
    fix = "name a tenant in the access of both, or remove it"
    found = never_called([*config.models, *apps.unpacked(config)], config.aliases, config.assistants, config.tools)
    return [Mistake(at, problem, fix) for at, problem in found]


def _tasks(config: StackConfig) -> list[Mistake]:
    search = config.retrieval.search
    found = wrong_tasks(config.models, config.aliases, config.assistants, config.guardrails, search)
    own = "is the name of a local embedder"
    return [Mistake(at, problem, "name a model of the right task, or change its task") for at, problem in found] + [
        Mistake(f"apps[{i}].name", f"'{app.name}' {own}", "choose another name")
        for i, app in enumerate(config.apps)
        if app.name in LOCAL_EMBEDDERS
    ]


def _secret_command(key: str) -> str:
    return f"`pulumi config set --secret --path 'headrace:{key}'`"


def _environment_references(config: StackConfig) -> list[Mistake]:
    """Reports references to environment variables: Ray's processes do not inherit this environment."""
    local = config.target == "local"
    problem = f"environment variables do not reach {'a local stack' if local else 'pods'}"
    file = "{ref: file:/path}, or " if local else ""
    return [
        Mistake(f"{key}.ref", problem, f"use {file}{_secret_command(key)}")
        for key, reference in _references(config)
        if reference.startswith("env:")
    ]


def _ports(config: StackConfig) -> list[Mistake]:
    mistakes = []
    seen: dict[int, str] = {}
    ray = config.ports.ray
    for name, port in config.ports.model_dump().items():
        if name == "ray":
            continue
        if port in seen:
            problem = f"{port} is also ports.{seen[port]}"
            mistakes.append(Mistake(f"ports.{name}", problem, "give each its own port"))
        elif ray and ray <= port < ray + 1000:
            problem = f"{port} is in Ray's block {ray}-{ray + 999}"
            mistakes.append(Mistake(f"ports.{name}", problem, "change it, or headrace:ports.ray"))
        seen.setdefault(port, name)
    if 0 < ray < 1024:
        mistakes.append(Mistake("ports.ray", f"{ray} is a privileged port", "use 0, or 1024 and above"))
    return mistakes


def _secret_files(config: StackConfig) -> list[Mistake]:
    """Reports references to files that pods do not have: a cluster has only the secrets that the stack mounts."""
    if config.target == "local":
        return []
    return [
        Mistake(f"{key}.ref", "refers to a file that does not exist in pods", f"use {_secret_command(key)}")
        for key, reference in _references(config)
        if reference.startswith("file:") and not reference.startswith(f"file:{MOUNTED_SECRETS}/")
    ]


def _pools(config: StackConfig) -> list[Mistake]:
    """Reports duplicate pool names, and workloads on pools that do not exist."""
    mistakes = []
    names = [p.name for p in config.pools]
    for i, name in enumerate(names):
        if name in names[:i]:
            problem = f"'{name}' is already pools[{names.index(name)}].name"
            mistakes.append(Mistake(f"pools[{i}].name", problem, "choose another name"))
    if config.target == "local":
        return mistakes
    wanted: list[tuple[str, object]] = [("gateway", config.gateway), ("retrieval", config.retrieval)]
    wanted += [(f"models[{i}]", m) for i, m in enumerate(config.models)]
    wanted += [(f"apps[{i}]", app) for i, app in enumerate(config.apps)]
    return mistakes + [
        Mistake.unknown(f"{key}.pool", pool, "pool", names)
        for key, item in wanted
        if (pool := getattr(item, "pool", None)) and pool not in names
    ]


def _pool_sizes(config: StackConfig) -> list[Mistake]:
    """Reports pools with too few CPUs for their replicas plus what an update of the largest application adds."""
    if config.target == "local":
        return []
    mistakes = []
    for i, pool in enumerate(config.pools):
        parts = [replicas.at_start(r) * r.cpus for r in (config.gateway, config.retrieval) if r.pool == pool.name]
        hosted = [*config.models, *apps.unpacked(config)]
        models = [m for m in hosted if isinstance(m, RayServeModel) and m.pool == pool.name]
        running = sum(parts) + sum(replicas.at_start(m) * m.cpus for m in models)
        needed = running + max([sum(parts), *(m.surge(replicas.at_start(m)) * m.cpus for m in models)])
        offered = (pool.max_replicas or pool.replicas) * replicas.cpus_of_worker(pool)
        if offered < needed - 1e-9:
            problem = f"{offered:g} in total is less than the {needed:g} that its replicas need during an update"
            mistakes.append(Mistake(f"pools[{i}].cpus", problem, "raise cpus or replicas of the pool"))
    return mistakes


def _kserve(config: StackConfig) -> list[Mistake]:
    """Reports KServe models without a URL on a local stack, which has no KServe to ask for one."""
    if config.target != "local":
        return []
    return [
        Mistake(f"models[{i}].url", "is missing, and target local has no KServe", "set it to the service's address")
        for i, model in enumerate(config.models)
        if isinstance(model, KServeModel) and not model.url
    ]


def _image(config: StackConfig) -> list[Mistake]:
    if config.target == "local" or config.image.digest or config.image.tag:
        return []
    fix = "push the serving image to a registry that the cluster can reach, and set its digest"
    return [Mistake("image.digest", "is missing", fix)]


def _database_url(config: StackConfig) -> list[Mistake]:
    """Reports a URL that is not PostgreSQL's. The message omits the URL, which may contain a password."""
    url = config.database.url
    if not url:
        return []
    parts = urlsplit(url)
    if parts.password is not None:
        return [Mistake("database.url", "contains a password", "move it to database.password (encrypted)")]
    scheme = parts.scheme.partition("+")[0]
    if scheme == "postgresql" and parts.username and parts.hostname and len(parts.path) > 1:
        return []
    return [Mistake("database.url", "is not a PostgreSQL URL", "write postgresql://user@host:port/database")]


def _operator_namespace(config: StackConfig) -> list[Mistake]:
    """Reports an existing KubeRay without its namespace, the only one that network policies let connect to Ray."""
    kuberay = config.addons.kuberay
    if not isinstance(kuberay, Existing) or kuberay.namespace:
        return []
    return [Mistake("addons.kuberay.namespace", "is missing", "set it to the namespace of the existing operator")]


def _required_addons(config: StackConfig) -> list[Mistake]:
    """Reports add-ons that are off although the stack needs them."""
    if config.target == "local":
        return []
    tls = config.ingress.tls
    needs = [
        ("kuberay", True, "it runs Ray"),
        ("gpu", any(p.gpus for p in config.pools), "a pool has gpus"),
        ("postgres", config.database.kind == "cloudnativepg", "database.kind is cloudnativepg"),
        ("certificates", bool(tls and tls.issued), "ingress.tls names an issuer"),
        (
            "gateway",
            config.ingress.kind == "gateway" and not config.ingress.gateway,
            "ingress.kind is gateway without an existing gateway",
        ),
        ("kserve", any(m.engine == "kserve" for m in config.models), "a model's engine is kserve"),
    ]
    return [
        Mistake(f"addons.{name}", f"is off, but {why}", "use auto, or {existing: NAME} for one in the cluster")
        for name, needed, why in needs
        if needed and getattr(config.addons, name) == "off"
    ]


def _source_ranges(config: StackConfig) -> list[Mistake]:
    kubernetes = config.kubernetes
    if kubernetes.service_type == "ClusterIP" or kubernetes.source_ranges:
        return []
    problem = f"is missing, and the Service is a {kubernetes.service_type}"
    return [Mistake("kubernetes.source_ranges", problem, "name the networks of its users, for example [10.0.0.0/8]")]


def _authorized_ranges(config: StackConfig) -> list[Mistake]:
    """Reports a public API server without the ranges that may connect to it."""
    if config.target not in CLOUDS or config.cluster.endpoint == "private":
        return []
    if config.cluster.authorized_ranges:
        return []
    fix = "list the addresses that run `up` and kubectl, or set cluster.endpoint to private"
    return [Mistake("cluster.authorized_ranges", "is missing, and the API server's endpoint is public", fix)]


def _kubeconfig(config: StackConfig) -> list[Mistake]:
    """Reports kubeconfig settings where the stack creates the cluster, whose kubeconfig it knows."""
    if config.target not in placement.NODE_POOL_RULES:
        return []
    return [
        Mistake(f"kubernetes.{name}", f"applies to target kubeconfig only; this is {config.target}", "remove it")
        for name in ("kubeconfig", "context", "render")
        if getattr(config.kubernetes, name)
    ]


CHECKS: tuple[tuple[frozenset[str], Callable[[StackConfig], list[Mistake]]], ...] = (
    (frozenset({"models", "apps", "aliases", "assistants", "knowledge"}), _names),
    (frozenset({"models", "apps", "aliases"}), _alias_targets),
    (frozenset({"models", "apps", "aliases", "assistants"}), _assistant_models),
    (frozenset({"models", "prompt_cache"}), _cached_prices),
    (frozenset({"models", "aliases", "assistants", "guardrails", "retrieval"}), _tasks),
    (frozenset({"assistants", "knowledge"}), _assistant_knowledge),
    (frozenset({"apps", "assistants", "tools"}), _tool_names),
    (frozenset({"models", "apps", "aliases", "assistants", "tools"}), _unreachable_tools),
    (frozenset({"target", "models", "database", "tools", "oidc"}), _environment_references),
    (frozenset({"target", "models", "database", "tools", "oidc"}), _secret_files),
    (frozenset({"ports"}), _ports),
    (frozenset({"target", "pools", "gateway", "retrieval", "models", "apps"}), _pools),
    (frozenset({"target", "pools", "gateway", "retrieval", "models", "apps"}), _pool_sizes),
    (
        frozenset(
            {
                *("target", "cluster", *CLOUDS, "node_pools", "pools", "gateway", "retrieval", "models", "apps"),
                *("addons", "backup", "database", "ingress", "knowledge"),
            }
        ),
        scheduling.mistakes,
    ),
    (frozenset({"target", "models"}), _kserve),
    (frozenset({"target", "cluster", "onprem", *CLOUDS, "node_pools", "pools"}), placement.mistakes),
    (frozenset({"target", "cluster", *CLOUDS}), _authorized_ranges),
    (frozenset({"target", "kubernetes"}), _kubeconfig),
    (frozenset({"target", "cluster"}), cost.mistakes),
    (frozenset({"target", "cluster", "cost", "node_pools", *CLOUDS}), cost.over_budget),
    (frozenset({"target", "onprem", "node_pools", "pools", "models"}), fit.mistakes),
    (frozenset({"target", "onprem", "node_pools", "pools", "models", "image"}), capability.mistakes),
    (frozenset({"target", "onprem", "kubernetes", "data", "database", "addons", "pools", "models"}), volumes.mistakes),
    (frozenset({"target", "image"}), _image),
    (frozenset({"target", "ingress", "cluster", "azure"}), edge.mistakes),
    (frozenset({"database"}), _database_url),
    (frozenset({"kubernetes"}), _source_ranges),
    (frozenset({"addons"}), _operator_namespace),
    (frozenset({"target", "addons", "pools", "database", "ingress", "models"}), _required_addons),
)
"""Checks between settings, each with the settings that must be valid for it to run."""
