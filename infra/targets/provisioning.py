"""A cluster that the stack makes, in a cloud or of machines of your own, and the stack on it."""

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
from infra.mistakes import Mistake
from infra.targets import Target, cluster_preflight
from infra.targets.kubernetes_stack import ClusterAccess, KubernetesStack
from infra.targets.layout import CHECKOUT
from infra.targets.provisioned_cluster import ProvisionedCluster


class CloudModule(Protocol):
    """What the folder of a cloud has: `SDK` is the Python package that its stacks need."""

    SDK: str

    def provision(self, config: StackConfig, stack: str) -> ProvisionedCluster:
        """Plans the cluster with its node pools."""
        ...


def mistakes(loaded: LoadedConfig, stack: str) -> list[Mistake]:
    """What this checkout lacks for the stack; the cluster is not there to be asked."""
    config = placement.place(loaded.config)
    found = [*chart.mistakes(config, CHECKOUT), *cluster_preflight.missing_charts(config)]
    if config.target == "onprem":
        asked = config.kubernetes.preflight and not loaded.mistakes and not found
        return [*found, *(_host_mistakes(config, stack) if asked else [])]
    sdk = _cloud_module(config.target).SDK
    if importlib.util.find_spec(sdk) is None:
        problem = f"the Python package {sdk} is not installed"
        found.append(Mistake("target", problem, f"run `make up`, or `python -m tools.environment {config.target}`"))
    return found


def _host_mistakes(config: StackConfig, stack: str) -> list[Mistake]:
    from infra.onprem import preflight

    return preflight.mistakes(config.onprem, stack)


def plan(config: StackConfig, given: Mapping[str, SecretStr], stack: str) -> Target:
    """Plans the cluster with its node pools, and the stack on it."""
    if words := cost.table(config):
        pulumi.log.info(words)
    config = placement.place(config)
    made = _provision(config, stack)
    for words in made.leftovers:
        pulumi.log.info(f"`purge` leaves behind: {words}")
    kubeconfig: Output[str] = Output.secret(cast(Any, made.kubeconfig))  # its type allows no Output
    access = ClusterAccess(identifier=made.identifier, content=kubeconfig)
    on_it = KubernetesStack("kubernetes", _with_cluster_defaults(config, made), given, stack, access, made)
    return replace(on_it.target, kubeconfig=kubeconfig)


def _cloud_module(name: str) -> CloudModule:
    return cast(CloudModule, importlib.import_module(f"infra.targets.{name}"))


def _provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    if config.target != "onprem":
        return _cloud_module(config.target).provision(config, stack)
    from infra.onprem import network
    from infra.targets.onprem import provision_onprem

    return provision_onprem(config.onprem, stack, config.mirror.image(network.IMAGE))


def _with_cluster_defaults(config: StackConfig, made: ProvisionedCluster) -> StackConfig:
    """The configuration with the cluster's own defaults where it says nothing."""
    kubernetes, data = config.kubernetes, config.data
    return config.model_copy(
        update={
            "kubernetes": kubernetes.model_copy(
                update={"storage_class": kubernetes.storage_class or made.storage_class}
            ),
            "data": data.model_copy(update={"uri": data.uri or made.data_uri}),
        }
    )
