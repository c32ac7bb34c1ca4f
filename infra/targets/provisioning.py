"""The targets whose cluster the stack creates, in a cloud or on your own hosts."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

import pulumi
from pulumi import Output
from pydantic import SecretStr

from infra import chart
from infra.config import StackConfig
from infra.config_loader import LoadedConfig
from infra.gpu import cost, placement
from infra.layout import CHECKOUT
from infra.mistakes import Mistake
from infra.resources import inquiry
from infra.resources.cloud_stack import CloudStack
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.targets import capacity_check, cloud_stacks, cluster_preflight, source_check
from infra.targets.kubernetes_stack import ClusterAccess, KubernetesStack
from infra.targets.target import Target


class CloudModule(Protocol):
    """The interface of a cloud's module `provision`."""

    def provision(self, stack: CloudStack[Any]) -> ProvisionedCluster:
        """Plans the cluster with its node pools."""
        ...


def mistakes(loaded: LoadedConfig, stack: str) -> list[Mistake]:
    """Reports what the stack lacks in this checkout and on its hosts; the cluster may not exist yet."""
    config = placement.place(loaded.config)
    found = [
        *chart.mistakes(config, CHECKOUT),
        *cluster_preflight.missing_charts(config),
        *cloud_stacks.mistakes(config),
    ]
    ask = config.kubernetes.preflight and not loaded.mistakes and not found
    if ask:
        sources = source_check.checks(config, loaded.secrets)
        found += inquiry.mistakes([*sources, *capacity_check.checks(config, stack)])
    if config.target == "onprem":
        return [*found, *(_host_mistakes(config, stack) if ask and not found else [])]
    sdk: str = importlib.import_module(f"infra.targets.{config.target}").SDK
    if importlib.util.find_spec(sdk) is None:
        problem = f"the Python package {sdk} is not installed"
        command = f".venv/bin/python -m tools.environment {config.target}"
        found.append(Mistake("target", problem, f"run `make up`, or `{command}`"))
    return found


def _host_mistakes(config: StackConfig, stack: str) -> list[Mistake]:
    from infra.onprem import preflight

    return preflight.mistakes(config.onprem, stack)


def plan(config: StackConfig, config_secrets: Mapping[str, SecretStr], stack: str) -> Target:
    """Plans the cluster with its node pools, and the stack on it."""
    if table := cost.table(config):
        pulumi.log.info(table)
    config = placement.place(config)
    cluster = _provision(config, stack)
    for leftover in cluster.leftovers:
        pulumi.log.info(f"`purge` does not delete: {leftover}")
    kubeconfig: Output[str] = Output.secret(cast(Any, cluster.kubeconfig))  # the parameter's type excludes Outputs
    access = ClusterAccess(identifier=cluster.identifier, content=kubeconfig)
    config = _with_cluster_defaults(config, cluster)
    kubernetes = KubernetesStack("kubernetes", config, config_secrets, stack, access, cluster)
    return replace(kubernetes.target, kubeconfig=kubeconfig)


def _provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    if config.target != "onprem":
        module = cast(CloudModule, importlib.import_module(f"infra.targets.{config.target}.provision"))
        return module.provision(cloud_stacks.cloud_stack(config, stack))
    from infra.onprem import network
    from infra.targets.onprem import provision_onprem

    return provision_onprem(config.onprem, stack, config.mirror.image(network.IMAGE))


def _with_cluster_defaults(config: StackConfig, cluster: ProvisionedCluster) -> StackConfig:
    """Returns the configuration with the cluster's storage class and bucket where it sets none."""
    kubernetes, data = config.kubernetes, config.data
    return config.model_copy(
        update={
            "kubernetes": kubernetes.model_copy(
                update={"storage_class": kubernetes.storage_class or cluster.storage_class}
            ),
            "data": data.model_copy(update={"uri": data.uri or cluster.data_uri}),
        }
    )
