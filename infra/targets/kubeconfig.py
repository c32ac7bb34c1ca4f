"""The target `kubeconfig`: an existing cluster."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi import Output
from pydantic import SecretStr

from infra import chart
from infra.config import StackConfig
from infra.config_loader import KUBECONFIG, LoadedConfig
from infra.kubernetes.cluster import ClusterUnusable, read_kubeconfig
from infra.layout import CHECKOUT
from infra.mistakes import Mistake
from infra.resources import inquiry
from infra.targets import cluster_preflight, image_check, source_check
from infra.targets.kubernetes_stack import ClusterAccess, KubernetesStack
from infra.targets.target import Target


def mistakes(loaded: LoadedConfig, stack: str) -> list[Mistake]:
    """Reports what the stack lacks in the cluster and in this checkout."""
    config = loaded.config
    found = chart.mistakes(config, CHECKOUT)
    if config.kubernetes.render:
        return found
    found += cluster_preflight.missing_charts(config)
    if "kubernetes" in loaded.invalid:
        return found
    try:
        cluster = read_kubeconfig(config.kubernetes, _kubeconfig_content(loaded.secrets))
    except ClusterUnusable as e:
        return [*found, e.mistake]
    # The cluster is checked only with a valid configuration.
    if config.kubernetes.preflight and not loaded.mistakes and not found:
        found += cluster_preflight.mistakes(config, cluster, stack)
        found = found or inquiry.mistakes(source_check.checks(config, loaded.secrets))
        if not found and not pulumi.runtime.is_dry_run():
            found += image_check.mistakes(config, cluster, stack)
    return found


def plan(config: StackConfig, config_secrets: Mapping[str, SecretStr], stack: str) -> Target:
    """Plans the stack in the cluster."""
    return KubernetesStack("kubernetes", config, config_secrets, stack, _access(config, config_secrets)).target


def _access(config: StackConfig, config_secrets: Mapping[str, SecretStr]) -> ClusterAccess | None:
    if config.kubernetes.render:
        return None
    content = _kubeconfig_content(config_secrets)
    cluster = read_kubeconfig(config.kubernetes, content)
    return ClusterAccess(
        identifier=cluster.identifier,
        path=str(cluster.path or ""),
        content=Output.secret(content) if content else None,
        context=cluster.context,
    )


def _kubeconfig_content(config_secrets: Mapping[str, SecretStr]) -> str:
    return config_secrets[KUBECONFIG].get_secret_value() if KUBECONFIG in config_secrets else ""
