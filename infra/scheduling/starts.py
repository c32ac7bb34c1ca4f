"""The timeouts of starts, in seconds: they follow from the bytes that images and weights have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.gpu import weights
from infra.gpu.disks import IMAGES
from infra.nodes.resources import GIB, MIB, parse_quantity
from serving.config import BASE_S, BYTES_PER_S, VllmModel, start_seconds, transfer_seconds

if TYPE_CHECKING:
    from infra.cluster_config import Pool
    from infra.config import StackConfig


def _stored_bytes(config: StackConfig, pool: Pool) -> int:
    """Returns the size of the weights that a pod fetches: that of its disk if the size of some is unknown."""
    models = weights.downloaded(config, pool)
    size = weights.set_size(pool)
    if size is not None and any(model.weight_bytes is None for model in models):
        return int(parse_quantity(size))
    return weights.known_bytes(config, pool)


def _models(config: StackConfig, pool: Pool) -> list[VllmModel]:
    return [model for model in config.models if isinstance(model, VllmModel) and model.pool == pool.name]


def ready_seconds(config: StackConfig) -> int:
    """Returns how long `up` waits for the stack: a node and its image, the weights, and the slowest model's start."""
    if config.kubernetes.ready_timeout_s is not None:
        return config.kubernetes.ready_timeout_s
    slowest = 0.0
    for pool in config.pools:
        stored = _stored_bytes(config, pool)
        starts = [model.start_within_s(stored if model.weight_bytes is None else 0) for model in _models(config, pool)]
        slowest = max([slowest, *(transfer_seconds(stored) + start for start in starts)])
    return BASE_S + round(slowest)


def job_seconds(config: StackConfig) -> int:
    """Returns the deadline of the job that migrates the database, which needs a node and the serving image."""
    return config.kubernetes.ready_timeout_s or start_seconds(IMAGES)


def lines(config: StackConfig) -> Iterator[str]:
    """Yields how long a start may take, for a plan."""
    rate = f"{BYTES_PER_S // MIB} MiB/s"
    yield f"Starts, if weights arrive at {rate} or faster:"
    for model in (model for pool in config.pools for model in _models(config, pool)):
        size = f"{model.weight_bytes / GIB:.1f} GiB" if model.weight_bytes is not None else "of unknown size"
        yield f"  {model.name}: weights {size}; answers within {model.start_within_s():,.0f} s of vLLM's start"
    yield f"  up waits {ready_seconds(config):,} s for the stack, and {job_seconds(config):,} s for its database"
