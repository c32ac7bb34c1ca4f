"""Models of engine `kserve` as Kubernetes objects: InferenceServices and the ServingRuntimes that they use.

The objects are built with the types of the `kserve` package, for KServe's Standard mode (plain Deployments; no
Knative, no Istio). All functions are pure and return plain documents.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from infra.cluster_config import Pool
from infra.config import StackConfig
from serving.config import KServeModel

Document = dict[str, Any]

PORT = 8080
"""Port that KServe's data plane expects a runtime to listen on."""

MODELS = "/mnt/models"
"""Folder where KServe mounts, or downloads, the model at `storageUri`."""

CONTAINER = "kserve-container"
"""Name of the container that KServe treats as the runtime."""

UID = 10001
"""User and group of the serving image."""

EXCEPTIONS = {
    "policy.headrace.io/own-service-account": "KServe reads a storageUri's credentials from the namespace's account",
    "policy.headrace.io/default-deny": "KServe's storage initializer downloads from wherever storageUri says",
}
"""Exceptions of InferenceServices from rules of the policy pack, with their reasons."""

FORMATS = {"vllm": "vLLM", "huggingface": "huggingface", "llamacpp": "gguf"}
"""The runtimes that Headrace creates, each with its model format."""


@cache
def kserve_types() -> ModuleType:
    """Imports `kserve.models` and `kserve.api_client` without running `kserve/__init__.py`.

    That module imports KServe's model server, which takes ten seconds and needs some thirty packages.
    """
    spec = importlib.util.find_spec("kserve")
    if spec is None:
        raise ModuleNotFoundError("engine kserve needs the Python package kserve: install requirements/kserve.txt")
    known = sys.modules.get("kserve")
    sys.modules["kserve"] = known or importlib.util.module_from_spec(spec)
    try:
        importlib.import_module("kserve.api_client")
        return importlib.import_module("kserve.models")
    finally:
        if known is None:
            del sys.modules["kserve"]


def kserve_models(config: StackConfig) -> list[KServeModel]:
    return [m for m in config.models if isinstance(m, KServeModel)]


def objects(config: StackConfig, namespace: str, images: Mapping[str, str], version: str) -> list[Document]:
    """Returns the ServingRuntimes, NetworkPolicies and InferenceServices of the stack's models.

    `images` maps the runtimes `vllm`, `huggingface` and `llamacpp` to the references that the cluster pulls.
    """
    created = [m for m in kserve_models(config) if m.existing is None]
    used = [kind for kind in FORMATS if any(m.runtime == kind for m in created)]
    pools = {p.name: p for p in config.pools}
    return [
        *(serving_runtime(kind, images[kind], namespace, version) for kind in used),
        *(network_policy(m, namespace, version) for m in created if m.address == "cluster"),
        *(inference_service(m, pools.get(m.pool or ""), namespace, version) for m in created),
    ]


def with_urls(catalog: Document, urls: Mapping[str, Any]) -> Document:
    """Returns a dumped `Catalog` with the addresses of KServe models, from `urls` by model name.

    The addresses can be outputs of resources and are passed through.
    """
    result = copy.copy(catalog)
    result["models"] = [{**m, "url": urls[m["name"]]} if m["name"] in urls else m for m in catalog["models"]]
    return result


def service_namespace(model: KServeModel, namespace: str) -> str:
    """Returns the namespace of a model's InferenceService; `namespace` is the stack's."""
    own = (model.existing or "").rpartition("/")[0]
    return own or namespace


def runtime_name(kind: str) -> str:
    """Returns the name of Headrace's ServingRuntime of a kind, or the name itself for any other runtime."""
    return f"headrace-{kind}" if kind in FORMATS else kind


def inference_service(model: KServeModel, pool: Pool | None, namespace: str, version: str) -> Document:
    """Returns the InferenceService of a model that the stack creates."""
    t, c = kserve_types(), _kubernetes_types()
    internal = model.address == "cluster"
    labels = {"networking.kserve.io/visibility": "cluster-local"} if internal else {}
    return _to_document(
        t.V1beta1InferenceService(
            api_version="serving.kserve.io/v1beta1",
            kind="InferenceService",
            metadata=c.V1ObjectMeta(
                name=model.service,
                namespace=namespace,
                labels={**_labels(model.service, "inference-service", version), **labels},
                annotations={
                    "serving.kserve.io/deploymentMode": "Standard",
                    "serving.kserve.io/autoscalerClass": "hpa" if model.scaling else "none",
                    **EXCEPTIONS,
                },
            ),
            spec=t.V1beta1InferenceServiceSpec(
                predictor=_predictor(model, pool, version),
                canary=_canary(model, pool, version),
            ),
        )
    )


def network_policy(model: KServeModel, namespace: str, version: str) -> Document:
    """Returns the policy that lets only the stack's worker pods call a model, which has no API key."""
    c = _kubernetes_types()
    own_labels = {"app.kubernetes.io/part-of": "headrace"}
    return _to_document(
        c.V1NetworkPolicy(
            api_version="networking.k8s.io/v1",
            kind="NetworkPolicy",
            metadata=c.V1ObjectMeta(
                name=f"model-{model.service}", namespace=namespace, labels=_labels(model.service, "network", version)
            ),
            spec=c.V1NetworkPolicySpec(
                pod_selector=c.V1LabelSelector(match_labels=_selector(model.service)),
                policy_types=["Ingress"],
                ingress=[
                    c.V1NetworkPolicyIngressRule(
                        _from=[
                            c.V1NetworkPolicyPeer(
                                pod_selector=c.V1LabelSelector(
                                    match_labels={**own_labels, "app.kubernetes.io/component": "worker"}
                                )
                            )
                        ],
                        ports=[c.V1NetworkPolicyPort(protocol="TCP", port=PORT)],
                    )
                ],
            ),
        )
    )


def _selector(instance: str) -> dict[str, str]:
    """Returns the labels that select the pods of a model."""
    return {"app.kubernetes.io/instance": instance, "app.kubernetes.io/component": "inference-service"}


def _predictor(model: KServeModel, pool: Pool | None, version: str) -> Any:
    t, c = kserve_types(), _kubernetes_types()
    scaling = model.scaling
    return t.V1beta1PredictorSpec(
        labels=_labels(model.service, "inference-service", version),
        min_replicas=scaling.min_replicas if scaling else model.replicas,
        max_replicas=scaling.max_replicas if scaling else model.replicas,
        scale_metric=scaling.metric if scaling else None,
        scale_metric_type="Utilization" if scaling else None,
        scale_target=scaling.target if scaling else None,
        model=_model(model, str(model.storage)),
        service_account_name=model.service_account,
        automount_service_account_token=False,
        security_context=_pod_security(),
        node_selector=(pool.selector or None) if pool else None,
        tolerations=_tolerations(pool, model.gpus),
        topology_spread_constraints=[
            c.V1TopologySpreadConstraint(
                max_skew=1,
                topology_key="kubernetes.io/hostname",
                when_unsatisfiable="ScheduleAnyway",
                label_selector=c.V1LabelSelector(match_labels=_selector(model.service)),
            )
        ],
    )


def _model(model: KServeModel, storage: str) -> Any:
    t, c = kserve_types(), _kubernetes_types()
    amounts = {"cpu": f"{model.cpus:g}", "memory": str(model.memory_bytes)}
    if model.gpus:
        amounts["nvidia.com/gpu"] = str(model.gpus)
    arguments = [f"--model={MODELS}/{model.file}"] if model.runtime == "llamacpp" else []
    if model.task != "chat":
        arguments += {"llamacpp": [f"--task={model.task}"], "vllm": ["--runner=pooling"]}.get(model.runtime, [])
    spec = t.V1beta1ModelSpec(
        model_format=t.V1beta1ModelFormat(name=model.model_format or FORMATS[model.runtime]),
        runtime=runtime_name(model.runtime),
        storage_uri=storage,
        # KServe appends them to the runtime's own arguments.
        args=[*arguments, *model.arguments] or None,
        resources=c.V1ResourceRequirements(requests=amounts, limits=amounts),
    )
    # A canary must set the name: the type's default is empty, which would override the container's name.
    spec._name = CONTAINER
    return spec


def _canary(model: KServeModel, pool: Pool | None, version: str) -> list[Any] | None:
    """Returns the canary's predictor. KServe requires another name, and does not allow scaling."""
    if model.canary is None:
        return None
    t = kserve_types()
    predictor = _predictor(model.model_copy(update={"scaling": None, "replicas": 1}), pool, version)
    predictor.name = "canary"
    predictor.max_replicas = None
    predictor.model = _model(model, model.canary.storage)
    return [t.V1beta1CanarySpec(predictor=predictor, traffic_percent=model.canary.percent)]


def serving_runtime(kind: str, image: str, namespace: str, version: str) -> Document:
    """Returns the ServingRuntime of one kind. KServe does not select it automatically; models must name it."""
    t, c = kserve_types(), _kubernetes_types()
    command, arguments, environment = _PROGRAMS[kind]
    # KServe's Hugging Face server has its own health paths; the others answer once their model is loaded.
    health = "/v2/health/ready" if kind == "huggingface" else "/health"
    alive = "/v2/health/live" if kind == "huggingface" else "/health"
    volumes = {"tmp": ("/tmp", None), "shm": ("/dev/shm", "Memory")}  # noqa: S108 (in a pod of its own)
    return _to_document(
        t.V1alpha1ServingRuntime(
            api_version="serving.kserve.io/v1alpha1",
            kind="ServingRuntime",
            metadata=c.V1ObjectMeta(
                name=runtime_name(kind), namespace=namespace, labels=_labels(kind, "serving-runtime", version)
            ),
            spec=t.V1alpha1ServingRuntimeSpec(
                annotations={"prometheus.kserve.io/port": str(PORT), "prometheus.kserve.io/path": "/metrics"},
                supported_model_formats=[
                    t.V1alpha1SupportedModelFormat(name=FORMATS[kind], version="1", auto_select=False)
                ],
                protocol_versions=["v2"] if kind == "huggingface" else None,
                containers=[
                    c.V1Container(
                        name=CONTAINER,
                        image=image,
                        command=command,
                        args=arguments,
                        env=[c.V1EnvVar(name=k, value=v) for k, v in environment.items()],
                        ports=[c.V1ContainerPort(name="http1", container_port=PORT, protocol="TCP")],
                        # Loading large weights may take up to an hour.
                        startup_probe=_probe(health, period=10, failures=360),
                        readiness_probe=_probe(health, period=5, failures=3),
                        liveness_probe=_probe(alive, period=10, failures=6),
                        security_context=c.V1SecurityContext(
                            allow_privilege_escalation=False,
                            capabilities=c.V1Capabilities(drop=["ALL"]),
                            privileged=False,
                            read_only_root_filesystem=True,
                            run_as_non_root=True,
                            seccomp_profile=c.V1SeccompProfile(type="RuntimeDefault"),
                        ),
                        # Minimum for models of this runtime; each InferenceService sets its own resources.
                        resources=c.V1ResourceRequirements(
                            requests={"cpu": "1", "memory": "2Gi"}, limits={"cpu": "1", "memory": "2Gi"}
                        ),
                        volume_mounts=[c.V1VolumeMount(name=k, mount_path=path) for k, (path, _) in volumes.items()],
                    )
                ],
                volumes=[
                    c.V1Volume(name=k, empty_dir=c.V1EmptyDirVolumeSource(medium=medium))
                    for k, (_, medium) in volumes.items()
                ],
            ),
        )
    )


_HOME = {
    "HOME": "/tmp",  # noqa: S108 (in a pod of its own)
    "HF_HOME": "/tmp",  # noqa: S108
    "VLLM_CONFIG_ROOT": "/tmp",  # noqa: S108
    "USER": "headrace",  # torch names its cache after the user, and the images have no user with this UID
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}

_PROGRAMS: Mapping[str, tuple[list[str] | None, list[str], Mapping[str, str]]] = {
    "llamacpp": (
        ["python", "-m", "serving.engines.llamacpp_server"],
        [f"--port={PORT}", "--name={{.Name}}"],
        {"HOME": "/tmp"},  # noqa: S108
    ),
    # As in KServe's own runtime: config/runtimes/kserve-vllmserver.yaml.
    "vllm": (
        ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        [f"--port={PORT}", "--served-model-name={{.Name}}", f"--model={MODELS}"],
        {**_HOME, "VLLM_WORKER_MULTIPROC_METHOD": "spawn"},
    ),
    # config/runtimes/kserve-huggingfaceserver.yaml; the model's folder is the server's default.
    "huggingface": (None, ["--model_name={{.Name}}", f"--model_dir={MODELS}"], _HOME),
}


def _probe(path: str, *, period: int, failures: int) -> Any:
    c = _kubernetes_types()
    return c.V1Probe(
        http_get=c.V1HTTPGetAction(path=path, port=PORT),
        period_seconds=period,
        timeout_seconds=10,
        failure_threshold=failures,
    )


def _pod_security() -> Any:
    c = _kubernetes_types()
    return c.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=UID,
        run_as_group=UID,
        fs_group=UID,
        seccomp_profile=c.V1SeccompProfile(type="RuntimeDefault"),
    )


def _tolerations(pool: Pool | None, gpus: int) -> Sequence[Any] | None:
    c = _kubernetes_types()
    own = [
        c.V1Toleration(key=t.key, operator=t.operator, value=t.value or None, effect=t.effect or None)
        for t in (pool.tolerations if pool else ())
    ]
    # Managed clusters put this taint on their GPU nodes.
    gpu_taint = c.V1Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    missing = bool(gpus) and not any(t.key == gpu_taint.key for t in own)
    return [*own, *([gpu_taint] if missing else [])] or None


def _labels(instance: str, component: str, version: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "headrace",
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "headrace",
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/version": version,
    }


def _kubernetes_types() -> Any:
    from kubernetes import client  # takes half a second to import, which only KServe models need

    return client


def _to_document(typed: Any) -> Document:
    """Converts a typed object to a plain document without unset fields."""
    kserve_types()
    client = sys.modules["kserve.api_client"].ApiClient()
    document: Document = client.sanitize_for_serialization(typed)
    return document
