"""Checks whether the GPUs of a pool compute in the number formats of its models, and whether its image has vLLM.

Sources, of vLLM 0.32.0: `get_min_capability` of each method in `vllm/model_executor/layers/quantization`,
`vllm/v1/attention/backends/triton_attn.py` for the cache, and the table of
https://docs.vllm.ai/en/v0.32.0/features/quantization/. Its FP8 row begins with Ada (8.9); before, vLLM computes in 16
bits and stores weights alone in FP8, which the plan accepts from Ampere (8.0). CUDA 13 of the image begins with Turing
(7.5): https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.gpu import placement
from infra.mistakes import Mistake
from serving.config import VllmModel

if TYPE_CHECKING:
    from infra.cluster_config import Pool
    from infra.config import StackConfig
    from infra.nodes.accelerators import Accelerator

Capability = tuple[int, int]

LEAST: Capability = (7, 5)
"""What the image with vLLM needs."""

BFLOAT16: Capability = (8, 0)
FP8_CACHE: Capability = (8, 9)

BLACKWELL: Capability = (10, 0)
"""From here on vLLM prefers FlashInfer for attention, which compiles kernels by a CUDA toolkit that the image lacks."""

QUANTIZATION: dict[str, Capability] = {
    "fp8": (8, 0),
    "fp8_per_tensor": (8, 0),
    "fp8_per_block": (8, 0),
    "fp8_per_channel": (8, 9),
    "fbgemm_fp8": (8, 0),
    "deepseek_v4_fp8": (8, 0),
    "modelopt": (8, 0),
    "mxfp8": (8, 0),
    "modelopt_mxfp8": (8, 0),
    "experts_int8": (8, 0),
    "mxfp4": (8, 0),
    "gpt_oss_mxfp4": (8, 0),
    "fp_quant": (10, 0),
    "nvfp4_per_token": (10, 0),
}
"""Least compute capability by method of quantisation.

Others run on each GPU that the image supports, as AWQ, GPTQ and their Marlin kernels do, or tell their format only by
the files of the weights.
"""


def pool_accelerator(config: StackConfig, pool: Pool) -> Accelerator | None:
    """Returns the kind of GPU of a pool's pods, shared or not; None if it is not in the catalogue."""
    nodes = placement.node_pool_for(config, pool)
    return placement.pool_gpu(config, pool) if nodes is None else placement.node_accelerator(nodes)


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports models of engine `vllm` whose image has no vLLM, or whose formats their GPUs do not compute in."""
    if config.target == "local":
        return []
    pools = {pool.name: pool for pool in config.pools}
    return [
        mistake
        for i, model in enumerate(config.models)
        if isinstance(model, VllmModel) and model.device == "gpu" and model.pool in pools
        for mistake in _mistakes(config, f"models[{i}]", model, pools[model.pool])
    ]


def _mistakes(config: StackConfig, key: str, model: VllmModel, pool: Pool) -> Iterator[Mistake]:
    image = pool.image or config.image
    name = image.repository.rpartition("/")[2]
    if "serving" in name and "vllm" not in name:
        problem = f"is vllm, but pods of pool '{pool.name}' have the image {image.repository}, which has no vLLM"
        setting = f"pools[{config.pools.index(pool)}].image"
        yield Mistake(f"{key}.engine", problem, f"set {setting} to headrace/vllm, which images/vllm/Dockerfile builds")
    gpu = pool_accelerator(config, pool)
    if gpu is None:
        return
    wanted: list[tuple[str, str, Capability]] = [("engine", "vLLM's image", LEAST)]
    if model.quantization in QUANTIZATION:
        wanted.append(("quantization", model.quantization, QUANTIZATION[model.quantization]))
    if model.dtype == "bfloat16":
        wanted.append(("dtype", "bfloat16", BFLOAT16))
    if model.kv_cache_dtype.startswith("fp8"):
        wanted.append(("kv_cache_dtype", model.kv_cache_dtype, FP8_CACHE))
    if model.kv_cache_dtype == "bfloat16":
        wanted.append(("kv_cache_dtype", "bfloat16", BFLOAT16))
    for setting, what, least in wanted:
        if gpu.capability < least:
            problem = (
                f"{what} needs a GPU of compute capability {_text(least)}, but {gpu.key} of pool '{pool.name}'"
                f" has {_text(gpu.capability)}"
            )
            yield Mistake(f"{key}.{setting}", problem, FIXES.get(setting, "use auto, or newer GPUs"))


FIXES = {"engine": "use newer GPUs", "quantization": "use weights of another format, or newer GPUs"}


def _text(capability: Capability) -> str:
    return ".".join(map(str, capability))


def arguments(config: StackConfig, model: VllmModel) -> tuple[str, ...]:
    """Returns the arguments of `vllm serve` for a model, with the attention backend that its GPUs need.

    https://docs.vllm.ai/en/v0.32.0/design/attention_backends/
    """
    pool = next((pool for pool in config.pools if pool.name == model.pool), None)
    gpu = pool_accelerator(config, pool) if pool and model.device == "gpu" else None
    chosen = any(argument.startswith("--attention-") for argument in model.arguments)
    if gpu is None or gpu.capability < BLACKWELL or chosen:
        return model.arguments
    latent = model.geometry is not None and model.geometry.latent_dim is not None
    return (f"--attention-backend={'TRITON_MLA' if latent else 'TRITON_ATTN'}", *model.arguments)
