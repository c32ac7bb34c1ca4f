"""InferenceServices and ServingRuntimes, field by field. The same documents run in `tests/cluster/test_kserve.py`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from infra import kserve
from infra.cluster_config import Pool, Toleration
from infra.config import StackConfig
from serving.config import KServeCanary, KServeModel, KServeScaling

IMAGES = {"llamacpp": "registry/serving@sha256:1", "vllm": "registry/vllm:1", "huggingface": "registry/hf:1"}
SMALL = KServeModel(name="small", storage="pvc://weights/smollm2", file="model.gguf", cpus=0.5, memory_bytes=10**9)
LARGE = KServeModel(
    name="large",
    runtime="vllm",
    storage="hf://meta-llama/Llama-3.1-8B-Instruct",
    pool="gpu",
    cpus=4,
    gpus=1,
    arguments=("--max-model-len=8192",),
    service_account="hub",
    scaling=KServeScaling(min_replicas=2, max_replicas=6, target=70),
    address="external",
)
POOL = Pool(
    name="gpu",
    gpus=1,
    accelerator="NVIDIA-L4",
    node_selector={"zone": "a"},
    tolerations=(Toleration(key="dedicated", operator="Equal", value="gpu", effect="NoSchedule"),),
)


def labels(instance: str, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "headrace",
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "headrace",
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/version": "1.2.3",
    }


def service(model: KServeModel, pool: Pool | None = None) -> dict[str, Any]:
    return kserve.inference_service(model, pool, "models", "1.2.3")


POD = {
    "automountServiceAccountToken": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


def selector(instance: str) -> dict[str, str]:
    return {"app.kubernetes.io/instance": instance, "app.kubernetes.io/component": "inference-service"}


def spread(instance: str) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(instance)},
        }
    ]


def test_an_inference_service_is_complete() -> None:
    amounts = {"cpu": "0.5", "memory": "1000000000"}
    assert service(SMALL) == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "small",
            "namespace": "models",
            "labels": {
                **labels("small", "inference-service"),
                "networking.kserve.io/visibility": "cluster-local",
            },
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
                **kserve.EXCEPTIONS,
            },
        },
        "spec": {
            "predictor": {
                **POD,
                "labels": labels("small", "inference-service"),
                "minReplicas": 1,
                "maxReplicas": 1,
                "model": {
                    "name": "kserve-container",
                    "modelFormat": {"name": "gguf"},
                    "runtime": "headrace-llamacpp",
                    "storageUri": "pvc://weights/smollm2",
                    "args": ["--model=/mnt/models/model.gguf"],
                    "resources": {"requests": amounts, "limits": amounts},
                },
                "topologySpreadConstraints": spread("small"),
            }
        },
    }


def test_an_inference_service_requests_gpus_and_scales() -> None:
    amounts = {"cpu": "4", "memory": "2147483648", "nvidia.com/gpu": "1"}
    found = service(LARGE, POOL)
    assert found["metadata"]["labels"] == labels("large", "inference-service")  # reachable from outside
    assert found["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    assert found["spec"] == {
        "predictor": {
            **POD,
            "labels": labels("large", "inference-service"),
            "minReplicas": 2,
            "maxReplicas": 6,
            "scaleMetric": "cpu",
            "scaleMetricType": "Utilization",
            "scaleTarget": 70,
            "serviceAccountName": "hub",
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4", "zone": "a"},
            "tolerations": [
                {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            ],
            "model": {
                "name": "kserve-container",
                "modelFormat": {"name": "vLLM"},
                "runtime": "headrace-vllm",
                "storageUri": "hf://meta-llama/Llama-3.1-8B-Instruct",
                "args": ["--max-model-len=8192"],
                "resources": {"requests": amounts, "limits": amounts},
            },
            "topologySpreadConstraints": spread("large"),
        }
    }


def test_canaries_have_a_name_and_do_not_scale() -> None:
    """What KServe's webhook refuses: `validateCanarySpecs` in inference_service_validation.go."""
    spec = service(LARGE.model_copy(update={"canary": KServeCanary(storage="hf://a/b", percent=10)}), POOL)["spec"]
    [canary] = spec["canary"]
    assert canary["trafficPercent"] == 10
    predictor, stable = canary["predictor"], spec["predictor"]
    assert (predictor["name"], predictor["minReplicas"]) == ("canary", 1)
    assert not {"maxReplicas", "scaleMetric", "scaleMetricType", "scaleTarget"} & predictor.keys()
    assert predictor["model"] == {**stable["model"], "storageUri": "hf://a/b"}
    assert predictor["nodeSelector"] == stable["nodeSelector"]


CONTAINER = {
    "name": "kserve-container",
    "ports": [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}],
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}},
    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],
}


def probes(ready: str, alive: str) -> dict[str, Any]:
    def probe(path: str, period: int, failures: int) -> dict[str, Any]:
        get = {"path": path, "port": 8080}
        return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 10, "failureThreshold": failures}

    return {
        "startupProbe": probe(ready, 10, 360),
        "readinessProbe": probe(ready, 5, 3),
        "livenessProbe": probe(alive, 10, 6),
    }


def runtime(kind: str) -> dict[str, Any]:
    return kserve.serving_runtime(kind, IMAGES[kind], "models", "1.2.3")


def test_llamacpps_runtime_is_complete() -> None:
    assert runtime("llamacpp") == {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {
            "name": "headrace-llamacpp",
            "namespace": "models",
            "labels": labels("llamacpp", "serving-runtime"),
        },
        "spec": {
            "annotations": {"prometheus.kserve.io/port": "8080", "prometheus.kserve.io/path": "/metrics"},
            "supportedModelFormats": [{"name": "gguf", "version": "1", "autoSelect": False}],
            "containers": [
                {
                    **CONTAINER,
                    **probes("/health", "/health"),
                    "image": "registry/serving@sha256:1",
                    "command": ["python", "-m", "serving.engines.llamacpp_server"],
                    "args": ["--port=8080", "--name={{.Name}}"],
                    "env": [{"name": "HOME", "value": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}],
        },
    }


def test_vllms_runtime_starts_its_server() -> None:
    found = runtime("vllm")
    [container] = found["spec"]["containers"]
    environment = {e["name"]: e["value"] for e in container.pop("env")}
    assert container == {
        **CONTAINER,
        **probes("/health", "/health"),
        "image": "registry/vllm:1",
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": ["--port=8080", "--served-model-name={{.Name}}", "--model=/mnt/models"],
    }
    assert environment == {
        "HOME": "/tmp",
        "HF_HOME": "/tmp",
        "VLLM_CONFIG_ROOT": "/tmp",
        "USER": "headrace",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    assert found["spec"]["supportedModelFormats"] == [{"name": "vLLM", "version": "1", "autoSelect": False}]


def test_hugging_faces_runtime_uses_the_images_command() -> None:
    found = runtime("huggingface")
    [container] = found["spec"]["containers"]
    assert "command" not in container  # the image's own
    assert container["args"] == ["--model_name={{.Name}}", "--model_dir=/mnt/models"]
    assert {k: container[k] for k in probes("", "")} == probes("/v2/health/ready", "/v2/health/live")
    assert found["spec"]["protocolVersions"] == ["v2"]
    assert found["spec"]["supportedModelFormats"] == [{"name": "huggingface", "version": "1", "autoSelect": False}]


def test_each_runtime_is_created_once_before_its_models() -> None:
    models = (
        SMALL,
        SMALL.model_copy(update={"name": "other"}),
        LARGE,
        KServeModel(name="theirs", existing="team/llama"),
        KServeModel(name="custom", runtime="triton", model_format="onnx", storage="s3://b/m"),
    )
    config = StackConfig(models=models, pools=(Pool(name="serving"), POOL))
    found = kserve.objects(config, "models", IMAGES, "1.2.3")
    assert [(d["kind"], d["metadata"]["name"]) for d in found] == [
        ("ServingRuntime", "headrace-vllm"),
        ("ServingRuntime", "headrace-llamacpp"),
        ("NetworkPolicy", "model-small"),
        ("NetworkPolicy", "model-other"),
        ("NetworkPolicy", "model-custom"),
        ("InferenceService", "small"),
        ("InferenceService", "other"),
        ("InferenceService", "large"),
        ("InferenceService", "custom"),
    ]
    assert found[-1]["spec"]["predictor"]["model"]["runtime"] == "triton"
    assert found[-1]["spec"]["predictor"]["model"]["modelFormat"] == {"name": "onnx"}
    assert found[-2]["spec"]["predictor"]["nodeSelector"]["zone"] == "a"


def test_only_the_stacks_workers_may_ask_a_model() -> None:
    """Runtimes ask for no key."""
    worker = {"app.kubernetes.io/part-of": "headrace", "app.kubernetes.io/component": "worker"}
    assert kserve.network_policy(SMALL, "models", "1.2.3") == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "model-small", "namespace": "models", "labels": labels("small", "network")},
        "spec": {
            "podSelector": {"matchLabels": selector("small")},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": worker}}],
                    "ports": [{"protocol": "TCP", "port": 8080}],
                }
            ],
        },
    }
    assert selector("small").items() <= service(SMALL)["spec"]["predictor"]["labels"].items()


def test_an_existing_service_may_be_in_another_namespace() -> None:
    assert kserve.service_namespace(KServeModel(name="theirs", existing="team/llama"), "headrace") == "team"
    assert kserve.service_namespace(KServeModel(name="theirs", existing="llama"), "headrace") == "headrace"


def test_addresses_are_passed_on_and_never_looked_at() -> None:
    unknown = object()
    catalog = {"models": [{"name": "small"}, {"name": "other"}], "aliases": []}
    told = kserve.with_urls(catalog, {"small": unknown})
    assert told["models"][0]["url"] is unknown
    assert told["models"][1] == {"name": "other"}
    assert "url" not in catalog["models"][0]


def test_the_types_load_without_kserves_model_server() -> None:
    code = (
        "import sys; from infra import kserve; kserve.kserve_types().V1beta1InferenceService\n"
        "print([m for m in ('kserve.model_server', 'fastapi', 'ray', 'kserve') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "storage is missing"),
        ({"storage": "pvc://a/b"}, "file is missing"),
        ({"storage": "hf://a/b", "runtime": "vllm", "file": "a.gguf"}, "file applies to the llamacpp runtime"),
        ({"storage": "hf://a/b", "runtime": "triton"}, "model_format is missing"),
        ({"existing": "llama", "gpus": 1, "storage": "hf://a/b"}, "remove gpus, storage"),
        ({"name": "under_score", "storage": "hf://a/b", "runtime": "vllm"}, "must be a DNS label"),
        ({"url": "http://u:p@host"}, "must not contain credentials"),
    ],
)
def test_a_model_that_kserve_would_refuse(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        KServeModel(**{"name": "m", **settings})
