"""What a stack asks of its cloud, out of its configuration."""

from __future__ import annotations

from typing import Any

from infra.addons import ADDONS
from infra.config import StackConfig
from infra.resources.cloud_stack import CloudStack


def cloud_stack(config: StackConfig, stack: str) -> CloudStack[Any]:
    """Returns what the stack asks of its target, whose settings have the target's name."""
    installed = [addon for addon in ADDONS if addon.choice(config) == "install"]
    return CloudStack(
        name=stack,
        settings=getattr(config, config.target),
        cluster=config.cluster,
        pools=config.node_pools,
        namespace=config.kubernetes.namespace,
        ingress=config.ingress,
        webhooks=frozenset(port for addon in installed for port in addon.webhooks),
    )
