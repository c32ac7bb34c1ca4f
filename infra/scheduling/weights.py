"""Disk space for the weights of models in the pods that download them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from infra.scheduling.resources import GIB, parse_quantity
from serving.config import VllmModel

if TYPE_CHECKING:
    from infra.cluster_config import Pool
    from infra.config import StackConfig

LOGS = 4
"""Size of a pod's /tmp in GiB for everything except weights, mainly Ray's logs."""

MARGIN = 1.1
"""Factor for other files in a repository, and for the part that a resumed download stores twice."""


def downloaded(config: StackConfig, pool: Pool) -> list[VllmModel]:
    """Returns the models of a pool whose weights are stored in its pods: those from the Hugging Face Hub.

    vLLM streams weights from buckets into the GPU, without a copy on disk.
    """
    return [
        model
        for model in config.models
        if isinstance(model, VllmModel) and model.pool == pool.name and model.source.startswith("hf://")
    ]


def download_bytes(model: VllmModel) -> int | None:
    """Returns the maximum size of a model's weight files; None if it is unknown.

    The files have 16 or 32 bits per weight; quantised ones have fewer, but vLLM can also quantise 16-bit files itself.
    """
    if model.geometry is None:
        return None
    return model.geometry.parameters * (4 if model.dtype in ("float", "float32") else 2)


def temporary_storage(config: StackConfig, pool: Pool) -> str | None:
    """Returns the size of /tmp in a pool's pods, as a quantity; None: the chart's default."""
    if pool.temporary_storage is not None:
        return pool.temporary_storage
    sizes = [download_bytes(model) for model in downloaded(config, pool)]
    known = [size for size in sizes if size is not None]
    return f"{LOGS + math.ceil(sum(known) * MARGIN / GIB)}Gi" if known else None


def too_small(config: StackConfig, pool: Pool) -> int | None:
    """Returns by how many bytes the weights of a pool exceed its `temporary_storage`; None if they fit."""
    if pool.temporary_storage is None:
        return None
    needed = sum(download_bytes(model) or 0 for model in downloaded(config, pool))
    lacking = needed - int(parse_quantity(pool.temporary_storage))
    return lacking if lacking > 0 else None
