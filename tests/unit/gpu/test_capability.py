"""Number formats that GPUs do not compute in, images without vLLM, and the backend that Blackwell needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra import application
from infra.config import StackConfig
from infra.config_loader import load
from infra.gpu import capability
from infra.nodes.accelerators import ACCELERATORS, accelerator_by_product
from infra.nodes.pools import Sharing
from tests.unit.gpu.test_placement import config

VLLM_IMAGE = {"repository": "headrace/vllm", "tag": "1"}
MODEL = {"engine": "vllm", "name": "llama", "source": "hf://org/llama", "pool": "gpu", "max_surge_percent": 0}


def stack(accelerator: str, pool: dict[str, Any] | None = None, **model: Any) -> StackConfig:
    nodes = {"name": "gpu", "accelerator": accelerator, "gpus": 1}
    pods = {"name": "gpu", "node_pool": "gpu", "gpus": 1, "image": VLLM_IMAGE, **(pool or {})}
    settings = config(nodes, pods=[pods]).model_dump(mode="json", exclude_unset=True)
    return StackConfig.model_validate({**settings, "models": [{**MODEL, **model}], "assistants": []})


def mistakes(accelerator: str, pool: dict[str, Any] | None = None, **model: Any) -> dict[str, str]:
    return {m.key: f"{m.problem}; {m.fix}" for m in capability.mistakes(stack(accelerator, pool, **model))}


@pytest.mark.parametrize(
    ("accelerator", "model", "key", "message"),
    [
        (
            "t4",
            {"quantization": "fp8"},
            "quantization",
            "fp8 needs a GPU of compute capability 8.0, but t4 of pool 'gpu' has 7.5; "
            "use weights of another format, or newer GPUs",
        ),
        (
            "t4",
            {"dtype": "bfloat16"},
            "dtype",
            "bfloat16 needs a GPU of compute capability 8.0, but t4 of pool 'gpu' has 7.5; use auto, or newer GPUs",
        ),
        (
            "a100-80gb",
            {"kv_cache_dtype": "fp8"},
            "kv_cache_dtype",
            "fp8 needs a GPU of compute capability 8.9, but a100-80gb of pool 'gpu' has 8.0; use auto, or newer GPUs",
        ),
        ("t4", {"quantization": "mxfp4"}, "quantization", "mxfp4 needs a GPU of compute capability 8.0"),
        (
            "a10g",
            {"quantization": "fp8_per_channel"},
            "quantization",
            "fp8_per_channel needs a GPU of compute capability 8",
        ),
        (
            "h200",
            {"quantization": "nvfp4_per_token"},
            "quantization",
            "nvfp4_per_token needs a GPU of compute capability 10",
        ),
        ("v100-16gb", {}, "engine", "vLLM's image needs a GPU of compute capability 7.5, but v100-16gb"),
    ],
)
def test_formats_that_a_gpu_does_not_compute_in(
    accelerator: str, model: dict[str, Any], key: str, message: str
) -> None:
    found = mistakes(accelerator, **model)
    assert list(found) == [f"models[0].{key}"]
    assert found[f"models[0].{key}"].startswith(message)


@pytest.mark.parametrize(
    ("accelerator", "model"),
    [
        ("t4", {}),
        ("t4", {"dtype": "half", "quantization": "awq"}),
        ("t4", {"quantization": "gptq_marlin"}),
        ("a10g", {"quantization": "fp8", "dtype": "bfloat16"}),
        ("l4", {"quantization": "fp8", "kv_cache_dtype": "fp8"}),
        ("h100-80gb", {"quantization": "modelopt", "kv_cache_dtype": "fp8_e4m3"}),
        ("b200", {"quantization": "nvfp4_per_token"}),
    ],
)
def test_formats_that_a_gpu_computes_in(accelerator: str, model: dict[str, Any]) -> None:
    assert mistakes(accelerator, **model) == {}


def test_a_slice_and_a_shared_gpu_compute_like_the_whole() -> None:
    for accelerator in ACCELERATORS:
        for part in accelerator.mig:
            found = accelerator_by_product(f"{accelerator.product}-MIG-{part.profile}")
            assert found
            assert found.capability == accelerator.capability
    shared = stack("t4", quantization="fp8")
    [nodes] = [n for n in shared.node_pools if n.name == "gpu"]
    sliced = nodes.model_copy(update={"sharing": Sharing(kind="time_slicing", replicas=2)})
    shared = shared.model_copy(update={"node_pools": (sliced,)})
    assert [m.key for m in capability.mistakes(shared)] == ["models[0].quantization"]


def test_vllm_in_the_serving_image_is_refused() -> None:
    [(key, said)] = mistakes("l4", {"image": None}).items()
    assert key == "models[0].engine"
    assert said == (
        "is vllm, but pods of pool 'gpu' have the image headrace/serving, which has no vLLM; "
        "set pools[1].image to headrace/vllm, which images/vllm/Dockerfile builds"
    )
    mirrored = {"image": {"repository": "mirror/team/headrace-serving", "tag": "1"}}
    assert list(mistakes("l4", mirrored)) == ["models[0].engine"]
    assert mistakes("l4", {"image": {"repository": "acme/llm", "tag": "1"}}) == {}


def test_loading_a_configuration_reports_them() -> None:
    raw = stack("t4", quantization="fp8").model_dump(mode="json", exclude_unset=True)
    found = load(raw, frozenset(raw), "/secrets").mistakes
    assert "models[0].quantization" in {m.key for m in found}


def catalogued(settings: StackConfig) -> tuple[str, ...]:
    [model] = application.catalog(settings, Path()).models
    return model.arguments


def test_blackwell_gets_an_attention_backend_without_a_compiler() -> None:
    plain = {"arguments": ["--seed=7"]}
    assert catalogued(stack("b200", **plain)) == ("--attention-backend=TRITON_ATTN", "--seed=7")
    assert catalogued(stack("rtx-pro-6000")) == ("--attention-backend=TRITON_ATTN",)
    assert catalogued(stack("h200", **plain)) == ("--seed=7",)
    latent = {"parameters": 10**9, "layers": 2, "kv_heads": 1, "head_dim": 128, "latent_dim": 576}
    assert catalogued(stack("b200", geometry=latent)) == ("--attention-backend=TRITON_MLA",)


@pytest.mark.parametrize("own", ["--attention-backend=FLASHINFER", "--attention-config.backend=FLASHINFER"])
def test_a_backend_of_the_model_stays(own: str) -> None:
    assert catalogued(stack("b300", arguments=[own])) == (own,)


def test_an_existing_clusters_product_label_tells_the_gpu() -> None:
    settings = stack("b200").model_copy(update={"target": "kubeconfig", "node_pools": ()})
    [serving, gpu] = settings.pools
    labelled = gpu.model_copy(update={"node_pool": None, "accelerator": "NVIDIA-B200"})
    assert catalogued(settings.model_copy(update={"pools": (serving, labelled)})) == (
        "--attention-backend=TRITON_ATTN",
    )
