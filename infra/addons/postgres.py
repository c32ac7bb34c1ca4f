"""CloudNativePG: the operator of the stack's PostgreSQL, and the database that it runs."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, Values, whole
from infra.config import StackConfig

CLUSTER = "headrace-db"
DATABASE = "headrace"
OWNER_SECRET = "headrace-db-owner"  # noqa: S105 (a name)


def needed(config: StackConfig) -> bool:
    return config.database.kind == "cloudnativepg"


def url(config: StackConfig) -> str:
    """URL of the database that the operator runs; the service `-rw` always leads to the primary."""
    return f"postgresql://{DATABASE}@{CLUSTER}-rw.{config.kubernetes.namespace}.svc:5432/{DATABASE}"


def cluster(config: StackConfig) -> Values:
    """The database, in the stack's namespace."""
    database = config.database
    storage_class = database.storage_class or config.kubernetes.storage_class
    storage = {"size": database.storage, **({"storageClass": storage_class} if storage_class else {})}
    return {
        "instances": database.instances,
        "imageName": config.mirror.image(versions.POSTGRES.images["database"]),
        "imagePullSecrets": [{"name": name} for name in config.image.pull_secrets],
        "storage": storage,
        "bootstrap": {"initdb": {"database": DATABASE, "owner": DATABASE, "secret": {"name": OWNER_SECRET}}},
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
    }


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    # Its chart upgrades the CRDs with itself.
    return {
        "crds": {"create": True},
        "image": whole(images["operator"]),
        "imagePullSecrets": [{"name": name} for name in config.image.pull_secrets],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    }


POSTGRES = Addon(
    name="postgres",
    namespace="cnpg-system",
    needed=needed,
    chart=lambda _: versions.POSTGRES,
    values=_values,
    kinds=("clusters.postgresql.cnpg.io",),
)
