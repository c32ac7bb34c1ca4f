"""The pods of NVIDIA's chart, with the values of our add-on, run on every node with GPUs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.cluster_config import Toleration
from infra.config import StackConfig
from infra.gpu import placement
from infra.nodes import scheduler
from infra.nodes.pools import GPU
from infra.nodes.resources import Resources
from tests.nvidia import stacks
from tests.nvidia.chart import Release


@pytest.mark.parametrize("config", [stacks.AWS, stacks.AZURE, stacks.ONPREM], ids=["aws", "azure", "onprem"])
def test_the_add_ons_pods_tolerate_what_nodes_with_gpus_have(
    config: StackConfig, released: Callable[[StackConfig], Release]
) -> None:
    """The taint of GPUs, one's own, and that of Azure's spot nodes."""
    release, rules = released(config), placement.NODE_POOL_RULES[config.target]
    assert len(release.pods) == 4
    with_gpus = [pool for pool in rules.pools(config) if pool.gpus]
    assert any(taint.key != GPU for pool in with_gpus for taint in rules.taints(pool))
    for name, pod in release.pods.items():
        tolerations = tuple(Toleration.model_validate(each) for each in pod["tolerations"])
        request = scheduler.PodRequest(name, Resources(), tolerations=tolerations)
        for pool in with_gpus:
            nodes = scheduler.Group(pool.name, Resources(), 1, 1, taints=tuple(rules.taints(pool)))
            assert scheduler.allowed(request, nodes), (name, pool.name)
