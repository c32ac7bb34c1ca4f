"""The resources of the provider `headrace`. Type tokens are part of every stack's state and must not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi import Input, Output, ResourceOptions


class Secret(pulumi.CustomResource):
    """A secret in a file of mode 0600. See `infra.providers.secret`."""

    path: Output[str]
    value: Output[str]
    """Exists only with `reveal`."""
    digest: Output[str]
    """Short digest of a generated secret, which changes with it."""

    def __init__(
        self,
        name: str,
        *,
        path: str,
        prefix: str = "",
        value: Input[str] | None = None,
        reveal: bool = False,
        keep: bool = False,
        opts: ResourceOptions | None = None,
    ) -> None:
        source: dict[str, Any] = {"prefix": prefix} if value is None else {"value": pulumi.Output.secret(value)}
        outputs: dict[str, Any] = {"digest": None} if value is None else {}
        if reveal and value is None:
            outputs["value"] = None
        props = {"path": path, "reveal": reveal, "keep": keep, **source, **outputs}
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["value"]))
        super().__init__("headrace:index:Secret", name, props, opts)


class RandomSecret(pulumi.CustomResource):
    """A random secret in the stack's state. See `infra.providers.random_secret`."""

    value: Output[str]
    digest: Output[str]

    def __init__(self, name: str, *, prefix: str = "", revision: int = 1, opts: ResourceOptions | None = None) -> None:
        props = {"prefix": prefix, "revision": revision, "value": None, "digest": None}
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["value"]))
        super().__init__("headrace:index:RandomSecret", name, props, opts)


class Process(pulumi.CustomResource):
    """A host process. See `infra.providers.process`."""

    session: Output[str]

    def __init__(
        self,
        name: str,
        *,
        argv: Sequence[Input[str]],
        env: Mapping[str, str],
        cwd: str,
        record: str,
        log: str,
        ready: str,
        files: Mapping[str, Input[str]] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        props = {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "record": record,
            "log": log,
            "ready": ready,
            "files": files or {},
            "session": None,
        }
        super().__init__("headrace:index:Process", name, props, opts)


class RayHead(pulumi.CustomResource):
    """A Ray head on this host. See `infra.providers.ray_head`."""

    session: Output[str]
    metrics_port: Output[int]
    haproxy_metrics_port: Output[int]

    def __init__(
        self,
        name: str,
        *,
        ray: Sequence[str],
        version: str,
        record: str,
        log: str,
        temp: str,
        token_path: Input[str],
        cpus: int,
        object_store_bytes: int,
        ports: Mapping[str, int],
        dashboard_port: int,
        inner_base: int,
        env: Mapping[str, str],
        opts: ResourceOptions | None = None,
    ) -> None:
        props = {
            "ray": ray,
            "version": version,
            "record": record,
            "log": log,
            "temp": temp,
            "token_path": token_path,
            "cpus": cpus,
            "object_store_bytes": object_store_bytes,
            "ports": ports,
            "dashboard_port": dashboard_port,
            "inner_base": inner_base,
            "env": env,
            "session": None,
            "metrics_port": None,
            "haproxy_metrics_port": None,
        }
        super().__init__("headrace:index:RayHead", name, props, opts)


class ServeApplication(pulumi.CustomResource):
    """The Serve applications of one Ray. See `infra.providers.serve_application`."""

    def __init__(
        self,
        name: str,
        *,
        url: str,
        token_path: Input[str],
        document: Mapping[str, Input[Any]],
        session: Input[str],
        ready: str,
        metrics: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        props = {
            "url": url,
            "token_path": token_path,
            "document": document,
            "session": session,
            "ready": ready,
            "metrics": metrics,
        }
        super().__init__("headrace:index:ServeApplication", name, props, opts)


class KnowledgeCollection(pulumi.CustomResource):
    """A knowledge collection. See `infra.providers.knowledge`."""

    vector_store: Output[str]

    def __init__(
        self,
        name: str,
        *,
        url: str,
        key_path: Input[str],
        collection: str,
        root: str,
        documents: Mapping[str, str],
        restricted: bool,
        on_error: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        props = {
            "url": url,
            "key_path": key_path,
            "collection": collection,
            "root": root,
            "documents": documents,
            "restricted": restricted,
            "on_error": on_error,
            "vector_store": None,
        }
        super().__init__("headrace:index:Knowledge", name, props, opts)


class InferenceEndpoint(pulumi.CustomResource):
    """The address of an InferenceService. See `infra.providers.inference_endpoint`."""

    url: Output[str]

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: str,
        content: Input[str],
        context: str,
        namespace: str,
        service: str,
        address: str,
        timeout_s: float,
        revision: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        props = {
            "kubeconfig": kubeconfig,
            "content": content,
            "context": context,
            "namespace": namespace,
            "name": service,
            "address": address,
            "timeout_s": timeout_s,
            "revision": revision,
            "url": None,
        }
        super().__init__("headrace:index:InferenceEndpoint", name, props, opts)


class RayClusterUpgrade(pulumi.CustomResource):
    """An upgrade in place of a RayService's Ray cluster. See `infra.providers.ray_cluster_upgrade`."""

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: str,
        content: Input[str],
        context: str,
        namespace: str,
        service: str,
        timeout_s: float,
        revision: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        props = {
            "kubeconfig": kubeconfig,
            "content": content,
            "context": context,
            "namespace": namespace,
            "name": service,
            "timeout_s": timeout_s,
            "revision": revision,
        }
        super().__init__("headrace:index:RayClusterUpgrade", name, props, opts)


class Machine(pulumi.CustomResource):
    """A host, prepared as a Kubernetes node. `props` are the inputs of `infra.providers.machine`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: ResourceOptions | None = None) -> None:
        super().__init__("headrace:index:Machine", name, dict(props), opts)


class KubernetesNode(pulumi.CustomResource):
    """A node of an on-premises cluster. `props` are the inputs of `infra.providers.kubernetes_node`."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: ResourceOptions | None = None) -> None:
        super().__init__("headrace:index:KubernetesNode", name, dict(props), opts)


class KubernetesCluster(pulumi.CustomResource):
    """An on-premises cluster. `props` are the inputs of `infra.providers.kubernetes_cluster`."""

    kubeconfig: Output[str]
    identifier: Output[str]

    def __init__(self, name: str, props: Mapping[str, Any], opts: ResourceOptions | None = None) -> None:
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["kubeconfig"]))
        outputs = {"kubeconfig": None, "identifier": None}
        super().__init__("headrace:index:KubernetesCluster", name, {**props, **outputs}, opts)
