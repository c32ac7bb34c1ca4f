"""The fit check against figures that others published, and what it says to an operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.config_loader import load
from infra.gpu import fit
from infra.nodes.accelerators import GIB, MIB, accelerator_by_product
from serving.config import Geometry, VllmModel

LLAMA_8B = Geometry(parameters=8_030_261_248, layers=32, kv_heads=8, head_dim=128, context=131_072)
LLAMA_70B = Geometry(parameters=70_553_706_496, layers=80, kv_heads=8, head_dim=128, context=131_072)
LLAMA_405B = Geometry(parameters=405_853_388_800, layers=126, kv_heads=8, head_dim=128)
OPT_13B = Geometry(parameters=12_853_473_280, layers=40, kv_heads=40, head_dim=128)
QWEN_72B = Geometry(parameters=72_706_203_648, layers=80, kv_heads=8, head_dim=128)
DEEPSEEK_V3 = Geometry(parameters=671_026_419_200, layers=61, kv_heads=128, head_dim=128, latent_dim=576)


def cache(geometry: Geometry, tokens: int, **settings: Any) -> int:
    plain = {"dtype": "auto", "kv_cache_dtype": "auto", "tensor_parallel": 1, "pipeline_parallel": 1}
    return fit.kv_cache_bytes(geometry, tokens, **{**plain, **settings})[0]


@pytest.mark.parametrize(
    ("geometry", "tokens", "published"),
    [
        # Kwon et al. 2023, https://arxiv.org/abs/2309.06180, section 3: 800 KB a token, 1.6 GB for 2048.
        (OPT_13B, 1, 800 * 1024),
        (OPT_13B, 2048, 1.6e9),
        # https://huggingface.co/blog/llama31#inference-memory-requirements: GiB in FP16.
        (LLAMA_8B, 1024, 0.125 * GIB),
        (LLAMA_8B, 16_000, 1.95 * GIB),
        (LLAMA_8B, 128_000, 15.62 * GIB),
        (LLAMA_70B, 1024, 0.313 * GIB),
        (LLAMA_70B, 16_000, 4.88 * GIB),
        (LLAMA_70B, 128_000, 39.06 * GIB),
        # DeepSeek-AI 2025, https://arxiv.org/abs/2505.09343, table 1: KB a token in BF16.
        (DEEPSEEK_V3, 1, 70.272e3),
        (QWEN_72B, 1, 327.680e3),
        (LLAMA_405B, 1, 516.096e3),
    ],
)
def test_kv_cache_is_as_published(geometry: Geometry, tokens: int, published: float) -> None:
    assert cache(geometry, tokens) == pytest.approx(published, rel=0.05 if tokens == 2048 else 0.003)


@pytest.mark.parametrize(
    ("geometry", "quantization", "published"),
    [
        # https://huggingface.co/blog/llama31#inference-memory-requirements: GB in FP16, FP8 and INT4.
        (LLAMA_8B, None, 16e9),
        (LLAMA_8B, "fp8", 8e9),
        (LLAMA_8B, "awq", 4e9),
        (LLAMA_70B, None, 140e9),
        (LLAMA_70B, "fp8", 70e9),
        (LLAMA_70B, "awq", 35e9),
    ],
)
def test_weights_are_as_published(geometry: Geometry, quantization: str | None, published: float) -> None:
    assert fit.weights_bytes(geometry, "auto", quantization)[0] == pytest.approx(published, rel=0.04)


def test_embeddings_stay_as_they_are_when_the_rest_is_quantised() -> None:
    geometry = LLAMA_8B.model_copy(update={"hidden_size": 4096, "vocabulary": 128_256})
    plain, _ = fit.weights_bytes(LLAMA_8B, "auto", "fp8")
    assert fit.weights_bytes(geometry, "auto", "fp8")[0] == plain + 4096 * 128_256


def test_precision_and_quantisation_determine_the_bytes() -> None:
    assert fit.weights_bytes(LLAMA_8B, "float32", None)[0] == 4 * LLAMA_8B.parameters
    assert fit.weights_bytes(LLAMA_8B, "auto", "compressed-tensors")[0] == LLAMA_8B.parameters // 4
    assert cache(LLAMA_8B, 1, dtype="float32") == 2 * cache(LLAMA_8B, 1)
    assert cache(LLAMA_8B, 1, kv_cache_dtype="fp8_e4m3") == cache(LLAMA_8B, 1) // 2


def test_gpus_share_heads_and_layers() -> None:
    assert cache(LLAMA_8B, 100, tensor_parallel=4) == cache(LLAMA_8B, 100) // 4
    assert cache(LLAMA_8B, 100, tensor_parallel=16) == cache(LLAMA_8B, 100) // 8  # heads are repeated
    assert cache(LLAMA_8B, 100, pipeline_parallel=2) == cache(LLAMA_8B, 100) // 2
    assert cache(DEEPSEEK_V3, 100, tensor_parallel=8) == cache(DEEPSEEK_V3, 100)  # the latent is not shared out


def test_a_window_bounds_what_its_layers_keep() -> None:
    geometry = LLAMA_8B.model_copy(update={"window": 1000, "windowed_layers": 24})
    assert cache(geometry, 10_000) == cache(LLAMA_8B, 10_000) // 32 * 8 + cache(LLAMA_8B, 1000) // 32 * 24
    assert cache(geometry, 500) == cache(LLAMA_8B, 500)


def model(**settings: Any) -> VllmModel:
    source = "hf://meta-llama/Llama-3.1-8B-Instruct"
    return VllmModel(**{"name": "llama", "source": source, "max_surge_percent": 0, **settings})


def test_the_arithmetic_is_shown() -> None:
    gpu = accelerator_by_product("NVIDIA-L4")
    assert gpu
    found = fit.compute_fit(model(context=8192, geometry=LLAMA_8B), gpu, LLAMA_8B)
    assert str(found).splitlines() == [
        "weights    8,030,261,248 parameters x 2 B / 1 GPU = 15.0 GiB",
        "KV cache   2 x 32 layers x 8 kv heads x 128 x 2 B x 8,192 tokens x 1 request = 1.0 GiB",
        "overhead   1.0 GiB (estimate)",
        "needed     17.0 GiB of each GPU",
        "available  22.5 GiB (NVIDIA-L4) x 0.9 = 20.2 GiB",
        "fits, with room for 4 requests of full length; max_num_seqs is 128",
    ]
    assert found.needed == 2 * LLAMA_8B.parameters + 8192 * 128 * 1024 + fit.OVERHEAD
    assert found.available == int(23_034 * MIB * 0.9)


def test_unknown_contexts_count_as_zero() -> None:
    gpu = accelerator_by_product("NVIDIA-L4")
    assert gpu
    geometry = LLAMA_8B.model_copy(update={"context": None})
    found = fit.compute_fit(model(), gpu, geometry)
    assert found.fits
    assert "not counted" in str(found)


def mistakes(pool: dict[str, Any] | None = None, target: str = "kubeconfig", **settings: Any) -> list[str]:
    """What an operator reads, of the models alone."""
    image = {"repository": "headrace/vllm", "tag": "1"}
    gpus = {"name": "gpu", "gpus": 1, "cpus": 16, "accelerator": "NVIDIA-L4", "image": image, **(pool or {})}
    raw = {
        "target": target,
        "models": [{"engine": "vllm", "pool": "gpu", **model(**settings).model_dump(mode="json", exclude={"pool"})}],
        "assistants": [],
        **({"pools": [{"name": "serving", "cpus": 8}, gpus]} if target != "local" else {}),
    }
    return [str(m) for m in load(raw, frozenset(), "/secrets").mistakes if m.setting == "models"]


def test_a_model_that_fits_is_no_mistake() -> None:
    assert mistakes(context=8192, geometry=LLAMA_8B) == []


def test_a_model_that_does_not_fit_is_refused_with_its_arithmetic() -> None:
    [said] = mistakes(geometry=LLAMA_8B)
    assert said == (
        "headrace:models[0]: 'llama' on the GPUs of pool 'gpu': "
        "weights 8,030,261,248 parameters x 2 B / 1 GPU = 15.0 GiB; "
        "KV cache 2 x 32 layers x 8 kv heads x 128 x 2 B x 131,072 tokens x 1 request = 16.0 GiB; "
        "overhead 1.0 GiB (estimate); needed 32.0 GiB of each GPU; "
        "available 22.5 GiB (NVIDIA-L4) x 0.9 = 20.2 GiB; "
        "does not fit: each GPU lacks 11.7 GiB; "
        "lower context, quantize it, or use more or larger GPUs"
    )


def test_more_requests_of_full_length_need_more() -> None:
    assert mistakes(context=8192, geometry=LLAMA_8B, full_context_requests=4) == []
    [said] = mistakes(context=8192, geometry=LLAMA_8B, full_context_requests=5)
    assert "x 5 requests = 5.0 GiB" in said


def test_more_gpus_carry_a_larger_model() -> None:
    h100 = {"accelerator": "NVIDIA-H100-80GB-HBM3"}
    assert "does not fit" in mistakes({**h100, "gpus": 1}, geometry=LLAMA_70B, context=8192)[0]
    assert mistakes({**h100, "gpus": 4}, geometry=LLAMA_70B, context=8192, tensor_parallel=4) == []


def test_a_replica_needs_its_gpus_on_one_node() -> None:
    [said] = mistakes(tensor_parallel=4)
    assert said.startswith("headrace:models[0].pool: a replica needs 4 GPUs on one node, but pods of pool 'gpu' have 1")


def test_heads_must_be_shared_evenly() -> None:
    [said] = mistakes({"gpus": 3}, geometry=LLAMA_8B, tensor_parallel=3)
    assert said == (
        "headrace:models[0].tensor_parallel: 3 GPUs cannot share 8 key-value heads; one must divide the other"
    )


def test_unknown_gpus_are_not_judged() -> None:
    assert mistakes({"accelerator": ""}, geometry=LLAMA_405B, context=8192) == []


def test_local_weights_provide_their_geometry(tmp_path: Path) -> None:
    from tests.unit.gpu.test_geometry import LLAMA, folder

    size = 30 * GIB
    folder(tmp_path, LLAMA, {"w": ("BF16", [size // 2], size)})
    [said] = mistakes(source=f"file://{tmp_path}", context=8192)
    assert "weights the weights' files / 1 GPU = 30.0 GiB" in said


def test_this_host_has_no_gpus() -> None:
    said = mistakes(target="local")
    assert (
        "headrace:models[0].engine: vllm needs GPUs, which target local does not have; "
        "use llamacpp or remote, or device cpu"
    ) in said


def test_device_cpu_is_for_this_host() -> None:
    assert not [line for line in mistakes(target="local", device="cpu") if "models[0]" in line]
    said = mistakes(device="cpu")
    assert "headrace:models[0].device: no image has vLLM's build for CPUs; use llamacpp, or target local" in said
