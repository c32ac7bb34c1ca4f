"""CloudNativePG: the operator that runs the stack's PostgreSQL, and the database itself."""

from __future__ import annotations

from collections.abc import Mapping

from infra import versions
from infra.addons.addon import Addon, Values, repository_image
from infra.config import StackConfig

CLUSTER = "headrace-db"
DATABASE = "headrace"
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
        "imageName": config.mirror.image(versions.POSTGRES.images["database"]),
        "imagePullSecrets": [{"name": name} for name in config.image.pull_secrets],
        "storage": storage,
        "bootstrap": {"initdb": {"database": DATABASE, "owner": DATABASE, "secret": {"name": OWNER_SECRET}}},
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
    }


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    # The chart upgrades the CRDs with the release.
    return {
        "crds": {"create": True},
        "image": repository_image(images["operator"]),
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
