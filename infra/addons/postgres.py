"""CloudNativePG: the operator that runs the stack's PostgreSQL, and the database itself."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, AddonPod, Values, repository_image
from infra.addons.monitoring import MONITORING
from infra.cluster_config import Existing
from infra.config import StackConfig
from infra.nodes.resources import Resources

CLUSTER = "headrace-db"
DATABASE = "headrace"
POLICY = "headrace-db-ingress"
OPERATOR_REQUESTS = {"cpu": "100m", "memory": "128Mi"}
WEBHOOK_PORT = 10250
"""Port of the operator's webhook; the chart's own, 9443, is one that GKE's firewall may close to its control plane."""
REQUESTS = {"cpu": "250m", "memory": "512Mi"}
"""Requests of each pod of the database."""
OWNER_SECRET = "headrace-db-owner"  # noqa: S105 (a name)


def needed(config: StackConfig) -> bool:
    return config.database.kind == "cloudnativepg"


def url(config: StackConfig) -> str:
    """Returns the database's URL; its Service `-rw` always points to the primary."""
    return f"postgresql://{DATABASE}@{CLUSTER}-rw.{config.kubernetes.namespace}.svc:5432/{DATABASE}"


def cluster(config: StackConfig) -> Values:
    """Returns the specification of the database cluster, in the stack's namespace."""
    database = config.database
    storage_class = database.storage_class or config.kubernetes.storage_class
    storage = {"size": database.storage, **({"storageClass": storage_class} if storage_class else {})}
    return {
        "instances": database.instances,
        # The budget of a single instance would allow no eviction, so that upgrades of its node would wait for ever.
        "enablePDB": database.instances > 1,
        "imageName": config.mirror.image(versions.POSTGRES.images["database"]),
        "imagePullSecrets": [{"name": name} for name in config.image.pull_secrets],
        "storage": storage,
        "bootstrap": {"initdb": {"database": DATABASE, "owner": DATABASE, "secret": {"name": OWNER_SECRET}}},
        "resources": {"requests": REQUESTS, "limits": {"memory": "1Gi"}},
    }


def network_policy(config: StackConfig) -> Values:
    """Returns the specification of the NetworkPolicy that denies the database's pods all other connections.

    Ports of the operator: https://cloudnative-pg.io/documentation/current/networking/; of metrics: .../monitoring/.
    """
    operator, monitoring = config.addons.postgres, config.addons.monitoring
    named = (operator.namespace or "") if isinstance(operator, Existing) else POSTGRES.namespace
    rules = [
        {"from": [{"podSelector": {"matchLabels": {"cnpg.io/cluster": CLUSTER}}}]},
        _ingress({"podSelector": {}}, 5432),
        # The namespace of an operator that is there may be unknown.
        _ingress({"namespaceSelector": _named(named)}, 8000, *((5432,) if named else ())),
    ]
    if monitoring != "off":
        space = (monitoring.namespace or "") if isinstance(monitoring, Existing) else MONITORING.namespace
        rules.append(_ingress({"namespaceSelector": _named(space)}, 9187))
    return {
        "podSelector": {"matchLabels": {"cnpg.io/cluster": CLUSTER}},
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }


def _named(namespace: str) -> Values:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}} if namespace else {}


def _ingress(peer: Values, *ports: int) -> Values:
    return {"from": [peer], "ports": [{"protocol": "TCP", "port": port} for port in ports]}


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    # The chart upgrades the CRDs with the release.
    return {
        "crds": {"create": True},
        "webhook": {"port": WEBHOOK_PORT},
        "image": repository_image(images["operator"]),
        "imagePullSecrets": [{"name": name} for name in config.image.pull_secrets],
        "resources": {"requests": OPERATOR_REQUESTS, "limits": {"memory": "256Mi"}},
    }


POSTGRES = Addon(
    name="postgres",
    namespace="cnpg-system",
    needed=needed,
    chart=lambda _: versions.POSTGRES,
    values=_values,
    kinds=("clusters.postgresql.cnpg.io",),
    pods=lambda _: (
        AddonPod("CloudNativePG's operator", Resources.parse(OPERATOR_REQUESTS["cpu"], OPERATOR_REQUESTS["memory"])),
    ),
    webhooks=(WEBHOOK_PORT,),
)
