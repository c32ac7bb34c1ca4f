"""The disk that the weights of models need in the pods that download them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from infra.scheduling.resources import GIB, parse_quantity
from serving.config import VllmModel

if TYPE_CHECKING:
    from infra.cluster_config import Pool
    from infra.config import StackConfig

LOGS = 4
"""GiB of a pod's /tmp for everything but weights: Ray's logs above all."""

MARGIN = 1.1
"""Repositories have some files besides the weights, and a download that is resumed has its last part twice."""


def downloaded(config: StackConfig, pool: Pool) -> list[VllmModel]:
    """Returns the models of a pool whose weights are stored in its pods: those from the Hugging Face Hub.

    vLLM streams weights from buckets into the GPU, without a copy on the disk.
    """
    return [
        model
        for model in config.models
        if isinstance(model, VllmModel) and model.pool == pool.name and model.source.startswith("hf://")
    ]


def download_bytes(model: VllmModel) -> int | None:
    """Returns the most that the files of a model's weights take; None if its size is unknown.

    The files have 16 bits a weight, or 32; quantised ones have fewer, but vLLM quantises 16-bit files too.
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
    """Returns the bytes that the weights of a pool need beyond its `temporary_storage`; None if they fit."""
    if pool.temporary_storage is None:
        return None
    needed = sum(download_bytes(model) or 0 for model in downloaded(config, pool))
    lacking = needed - int(parse_quantity(pool.temporary_storage))
    return lacking if lacking > 0 else None
