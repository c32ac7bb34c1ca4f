"""Checks before a deployment whether a model fits the GPUs of its pool, and shows the arithmetic.

Only models that certainly cannot run are rejected: unknown quantities count as zero, and known ones are counted as
the engine does. Per GPU, after tensor and pipeline parallelism:

    weights + KV cache of the longest request(s) + overhead <= memory x utilisation

vLLM itself does not start if the KV cache cannot hold one request of full length (`check_enough_kv_cache_memory`
in vllm/v1/core/kv_cache_planning.py). Sources. Size of a KV cache: Pope et al. 2022, https://arxiv.org/abs/2211.05102;
grouped-query attention: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245; latent cache of MLA: DeepSeek-V2,
https://arxiv.org/abs/2405.04434.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cluster_config import Pool
from infra.gpu import placement
from infra.gpu.geometry import LocalWeights, from_folder
from infra.mistakes import Mistake
from infra.nodes.accelerators import GIB, Accelerator
from serving.config import Geometry, VllmModel

if TYPE_CHECKING:
    from infra.config import StackConfig

OVERHEAD = 1 * GIB
"""Activations of the largest batch, NCCL buffers and CUDA graphs: a low estimate from vLLM's logs."""

DTYPE_BYTES = {"float32": 4.0, "float": 4.0}
"""Bytes per weight. All other dtypes of vLLM have 2, including `auto`, which halves 32-bit checkpoints."""

QUANTIZED_BITS = {
    "fp8": 8,
    "fp8_per_tensor": 8,
    "fp8_per_block": 8,
    "fp8_per_channel": 8,
    "fbgemm_fp8": 8,
    "deepseek_v4_fp8": 8,
    "modelopt": 8,
    "int8_per_channel_weight_only": 8,
    "experts_int8": 8,
    "mxfp8": 8,
    "modelopt_mxfp8": 8,
    # 4 bits, plus a 16-bit scale per group of 128; formats with smaller groups need more.
    "awq": 4.125,
    "auto_awq": 4.125,
    "awq_marlin": 4.125,
    # 4 bits, plus an 8-bit scale per block of 32 (MX) or 16 (NVFP4).
    "mxfp4": 4.25,
    "gpt_oss_mxfp4": 4.25,
    "modelopt_fp4": 4.5,
    "nvfp4_per_token": 4.5,
}
"""Bits per weight. Methods with several widths (gptq, compressed-tensors, …) use `FEWEST_BITS`."""

FEWEST_BITS = 2
"""Bits per weight of a method whose width is known only from the files of the weights."""

KV_BYTES = {"auto": 2.0, "float16": 2.0, "bfloat16": 2.0}
FP8_KV = 1.0
SMALLEST_KV = 0.375
"""Bytes per element of vLLM's smallest cache format (3 bits), used for unlisted formats."""


@dataclass(frozen=True)
class Fit:
    """Memory that a model needs on one GPU, and that is available, in bytes."""

    weights: int
    kv_cache: int
    available: int
    lines: tuple[str, ...]

    @property
    def needed(self) -> int:
        return self.weights + self.kv_cache + OVERHEAD

    @property
    def fits(self) -> bool:
        return self.needed <= self.available

    def __str__(self) -> str:
        return "\n".join(self.lines)


def format_gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def weights_bytes(geometry: Geometry, dtype: str, quantization: str | None) -> tuple[int, str]:
    """Returns the bytes of all weights, and the arithmetic as text."""
    full = DTYPE_BYTES.get(dtype, 2.0)
    if quantization is None:
        return math.ceil(geometry.parameters * full), f"{geometry.parameters:,} parameters x {full:g} B"
    bits = QUANTIZED_BITS.get(quantization, FEWEST_BITS)
    # Embeddings are not quantized. They count once, since the output layer may share them.
    kept = min((geometry.vocabulary or 0) * (geometry.hidden_size or 0), geometry.parameters)
    formula = f"{geometry.parameters - kept:,} parameters x {bits:g} bits ({quantization})"
    if kept:
        formula += f" + {kept:,} of the embeddings x {full:g} B"
    return math.ceil((geometry.parameters - kept) * bits / 8 + kept * full), formula


def kv_cache_bytes(
    geometry: Geometry, tokens: int, *, dtype: str, kv_cache_dtype: str, tensor_parallel: int, pipeline_parallel: int
) -> tuple[int, str]:
    """Returns the bytes of one sequence's cache on one GPU, and the arithmetic as text."""
    element = KV_BYTES.get(kv_cache_dtype, FP8_KV if kv_cache_dtype.startswith("fp8") else SMALLEST_KV)
    if kv_cache_dtype == "auto":
        element = DTYPE_BYTES.get(dtype, 2.0)
    layers = math.ceil(geometry.layers / pipeline_parallel)
    if geometry.latent_dim is not None:
        # Every GPU of a tensor-parallel group holds the complete latent.
        each = geometry.latent_dim * element
        formula = f"{layers} layers x {geometry.latent_dim} (latent) x {element:g} B"
    else:
        heads = max(1, geometry.kv_heads // tensor_parallel)  # with more GPUs than heads, heads are replicated
        each = 2 * heads * geometry.head_dim * element
        formula = f"2 x {layers} layers x {heads} kv heads x {geometry.head_dim} x {element:g} B"
    windowed = 0
    if geometry.window is not None and geometry.window < tokens:
        of_all = geometry.layers if geometry.windowed_layers is None else geometry.windowed_layers
        windowed = math.floor(of_all / pipeline_parallel)
    positions = (layers - windowed) * tokens + windowed * (geometry.window or 0)
    formula += f" x {tokens:,} tokens"
    if windowed:
        formula += f" ({windowed} layers keep {geometry.window:,})"
    return math.ceil(each * positions), formula


def compute_fit(model: VllmModel, gpu: Accelerator, geometry: Geometry, weights: LocalWeights | None = None) -> Fit:
    """Counts the memory that one GPU of a replica needs. `weights` are the weights on this host, if any."""
    if weights is not None and (model.quantization is None or weights.quantized) and model.dtype not in DTYPE_BYTES:
        total, formula = weights.bytes, "the weights' files"
    else:
        total, formula = weights_bytes(geometry, model.dtype, model.quantization)
    share = math.ceil(total / model.gpus)
    lines = [f"weights    {formula} / {model.gpus} GPU{'s' if model.gpus > 1 else ''} = {format_gib(share)}"]
    tokens = model.context or geometry.context
    if tokens:
        one, formula = kv_cache_bytes(
            geometry,
            tokens,
            dtype=model.dtype,
            kv_cache_dtype=model.kv_cache_dtype,
            tensor_parallel=model.tensor_parallel,
            pipeline_parallel=model.pipeline_parallel,
        )
        requests = model.full_context_requests
        lines.append(
            f"KV cache   {formula} x {requests} request{'s' if requests > 1 else ''} = {format_gib(one * requests)}"
        )
    else:
        one = requests = 0
        lines.append("KV cache   not counted: neither context nor geometry.context is given")
    available = int(gpu.memory_bytes * model.gpu_memory_utilization)
    result = Fit(share, one * requests, available, ())
    lines += [
        f"overhead   {format_gib(OVERHEAD)} (estimate)",
        f"needed     {format_gib(result.needed)} of each GPU",
        f"available  {format_gib(gpu.memory_bytes)} ({gpu.product}) x {model.gpu_memory_utilization:g}"
        f" = {format_gib(available)}",
    ]
    if not result.fits:
        lines.append(f"does not fit: each GPU lacks {format_gib(result.needed - available)}")
    elif one:
        room = (available - share - OVERHEAD) // one
        lines.append(f"fits, with room for {room:,} requests of full length; max_num_seqs is {model.max_num_seqs:,}")
    else:
        lines.append("fits, as far as its needs are known")
    return Fit(share, one * requests, available, tuple(lines))


def local_weights(model: VllmModel) -> LocalWeights | None:
    """Reads the weights of a model from this host; None if they are elsewhere or cannot be read."""
    if not model.source.startswith("file://"):
        return None
    try:
        return from_folder(Path(model.source.removeprefix("file://")))
    except (OSError, ValueError):
        return None


def model_fit(config: StackConfig, model: VllmModel) -> Fit | None:
    """Counts the memory that a model of the stack needs; None if its geometry or its GPUs are unknown."""
    pool = _pool(config, model)
    gpu = placement.pool_gpu(config, pool) if pool else None
    weights = local_weights(model)
    geometry = _geometry(model, weights)
    return compute_fit(model, gpu, geometry, weights) if gpu and geometry else None


def _pool(config: StackConfig, model: VllmModel) -> Pool | None:
    return next((p for p in config.pools if p.name == model.pool), None)


def _geometry(model: VllmModel, weights: LocalWeights | None) -> Geometry | None:
    return model.geometry or (weights.geometry if weights else None)


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports models of engine `vllm` that cannot run on their pool."""
    return [
        mistake
        for i, model in enumerate(config.models)
        if isinstance(model, VllmModel) and (mistake := _mistake(config, i, model))
    ]


def _mistake(config: StackConfig, i: int, model: VllmModel) -> Mistake | None:
    if model.device == "cpu":
        if config.target == "local":
            return None
        return Mistake(f"models[{i}].device", "no image has vLLM's build for CPUs", "use llamacpp, or target local")
    if config.target == "local":
        problem = "vllm needs GPUs, which target local does not have"
        return Mistake(f"models[{i}].engine", problem, "use llamacpp or remote, or device cpu")
    pool = _pool(config, model)
    if pool is None:
        return None  # reported by another check
    if pool.gpus < model.gpus:
        problem = f"a replica needs {model.gpus} GPUs on one node, but pods of pool '{pool.name}' have {pool.gpus}"
        fix = "choose a pool with enough gpus, or lower tensor_parallel or pipeline_parallel"
        return Mistake(f"models[{i}].pool", problem, fix)
    weights = local_weights(model)
    geometry = _geometry(model, weights)
    if geometry is None:
        return None
    if model.tensor_parallel > 1 and geometry.latent_dim is None:
        low, high = sorted((geometry.kv_heads, model.tensor_parallel))
        if high % low:
            problem = f"{model.tensor_parallel} GPUs cannot share {geometry.kv_heads} key-value heads"
            return Mistake(f"models[{i}].tensor_parallel", problem, "one must divide the other")
    gpu = placement.pool_gpu(config, pool)
    result = compute_fit(model, gpu, geometry, weights) if gpu else None
    if result is None or result.fits:
        return None
    arithmetic = "; ".join(" ".join(line.split()) for line in result.lines)
    problem = f"'{model.name}' on the GPUs of pool '{pool.name}': {arithmetic}"
    return Mistake(f"models[{i}]", problem, "lower context, quantize it, or use more or larger GPUs")
