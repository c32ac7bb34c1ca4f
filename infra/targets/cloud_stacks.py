"""What a stack asks of its cloud, out of its configuration."""

from __future__ import annotations

from typing import Any, cast

from infra.addons import ADDONS
from infra.config import StackConfig
from infra.gpu.placement import cloud_rules
from infra.mistakes import Mistake
from infra.nodes.machines import Cloud
from infra.resources.cloud_stack import CloudStack
from serving.config import VllmModel


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
        weights=tuple(dict.fromkeys(source for _, source in _weights(config))),
    )


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports weights in accounts of Azure whose resource group is unknown, without which no role can be assigned."""
    if config.target != "azure":
        return []
    accounts = {source.removeprefix("az://").partition("/")[0]: i for i, source in reversed(_weights(config))}
    return [
        Mistake(
            "azure.storage_groups",
            f"has no resource group for the account '{account}' of models[{i}], so that pods cannot be let read it",
            f"add it (`az storage account show --name {account} --query resourceGroup`), or set"
            " cluster.grant_weights to false and assign the role yourself (docs/how-to/fetch-weights.md)",
        )
        for account, i in sorted(accounts.items())
        if account not in config.azure.storage_groups
    ]


def _weights(config: StackConfig) -> list[tuple[int, str]]:
    """Returns the folders of the cloud's own store that pods open by their identity, each with its model's number."""
    if not config.cluster.grant_weights:
        return []
    store = cloud_rules(cast(Cloud, config.target)).STORE
    return [
        (i, source.rstrip("/"))
        for i, model in enumerate(config.models)
        if isinstance(model, VllmModel)
        for source in model.identity_sources
        if source.startswith(store) and model.endpoint_of(source) is None
    ]
