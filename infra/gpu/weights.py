"""Disk space for the weights of models in the pods that download them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from infra.nodes.resources import GIB, parse_quantity
from serving.config import VllmModel

if TYPE_CHECKING:
    from infra.cluster_config import Pool
    from infra.config import StackConfig

LOGS = 4
"""Size of a pod's /tmp in GiB for everything except weights, mainly Ray's logs."""

MARGIN = 1.1
"""Factor for other files in a repository, and for the part that a resumed download stores twice."""


def downloaded(config: StackConfig, pool: Pool) -> list[VllmModel]:
    """Returns the models of a pool that store weights on disk: vLLM can also stream them from a bucket into the GPU."""
    return [
        model for model in config.models if isinstance(model, VllmModel) and model.pool == pool.name and model.fetched
    ]


def known_bytes(config: StackConfig, pool: Pool) -> int:
    """Returns the size of a pool's weights, as far as it is known."""
    return sum(model.weight_bytes or 0 for model in downloaded(config, pool))


def set_size(pool: Pool) -> str | None:
    """Returns the size that the configuration sets for a pool's weights; None if it is to be computed."""
    return pool.temporary_storage if pool.weights is None else pool.weights.size


def temporary_storage(config: StackConfig, pool: Pool) -> str | None:
    """Returns the size of /tmp in a pool's pods, as a quantity; None: the chart's default."""
    if pool.temporary_storage is not None or pool.weights is not None:
        return pool.temporary_storage
    known = known_bytes(config, pool)
    return f"{LOGS + math.ceil(known * MARGIN / GIB)}Gi" if known else None


def volume_size(config: StackConfig, pool: Pool) -> str:
    """Returns the size of a pool's volume for weights, as a quantity.

    Pods that share it need room for a new version beside the one in use.
    """
    if pool.weights is None or pool.weights.size is not None:
        return (pool.weights and pool.weights.size) or ""
    versions = 1 if pool.weights.kind == "ephemeral" else 2
    return f"{max(1, math.ceil(versions * known_bytes(config, pool) * MARGIN / GIB))}Gi"


def too_small(config: StackConfig, pool: Pool) -> int | None:
    """Returns by how many bytes the weights of a pool exceed the size that is set for them; None if they fit."""
    if (size := set_size(pool)) is None:
        return None
    lacking = known_bytes(config, pool) - int(parse_quantity(size))
    return lacking if lacking > 0 else None


def size_key(pool: Pool) -> str:
    """Returns the setting of a pool for the size of its weights."""
    return "temporary_storage" if pool.weights is None else "weights.size"


def needs_size(pool: Pool) -> bool:
    """Returns whether a size is needed that the configuration does not set."""
    existing = pool.weights is not None and pool.weights.claim is not None
    return not existing and set_size(pool) is None
