"""Whether a model fits the GPUs of its pool, before anything is deployed, with the arithmetic shown.

Only what certainly cannot run is refused: whatever is not known counts as nothing, and what is known is counted as
the engine counts it. Per GPU, after tensor and pipeline parallelism:

    weights + KV cache of the longest request(s) + overhead <= memory x utilisation

vLLM itself refuses to start when the KV cache cannot hold one request of full length (`check_enough_kv_cache_memory`
in vllm/v1/core/kv_cache_planning.py). The size of a KV cache: Pope et al. 2022, https://arxiv.org/abs/2211.05102;
grouped queries (GQA): Ainslie et al. 2023, https://arxiv.org/abs/2305.13245; the latent cache of MLA: DeepSeek-V2,
https://arxiv.org/abs/2405.04434.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cluster_config import Pool
from infra.gpu import placement
from infra.gpu.accelerators import GIB, Accelerator
from infra.gpu.geometry import Weights, from_folder
from infra.mistakes import Mistake
from serving.config import Geometry, VllmModel

if TYPE_CHECKING:
    from infra.config import StackConfig

OVERHEAD = 1 * GIB
"""Activations of the largest batch, NCCL's buffers, CUDA graphs: an estimate at the lower end of what vLLM logs."""

DTYPE_BYTES = {"float32": 4.0, "float": 4.0}
"""Bytes of a weight; every other dtype of vLLM has 2, `auto` as well: it halves 32-bit checkpoints."""

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
    # 4 bits, and a 16-bit scale for each group of 128; formats with smaller groups need more.
    "awq": 4.125,
    "auto_awq": 4.125,
    "awq_marlin": 4.125,
    # 4 bits, and an 8-bit scale for each block of 32 (MX) or 16 (NVFP4).
    "mxfp4": 4.25,
    "gpt_oss_mxfp4": 4.25,
    "modelopt_fp4": 4.5,
    "nvfp4_per_token": 4.5,
}
"""Bits of a weight. Methods that cover several widths (gptq, compressed-tensors, …) are not here: see `FEWEST_BITS`."""

FEWEST_BITS = 2
"""Of a method whose width only the weights' own files tell."""

KV_BYTES = {"auto": 2.0, "float16": 2.0, "bfloat16": 2.0}
FP8_KV = 1.0
SMALLEST_KV = 0.375
"""Bytes of an element in the smallest of vLLM's cache formats (3 bits), for those that are not listed."""


@dataclass(frozen=True)
class Fit:
    """What one GPU needs and has. Bytes."""

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


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def weights_bytes(geometry: Geometry, dtype: str, quantization: str | None) -> tuple[int, str]:
    """Returns the bytes of all weights, and how they were counted."""
    full = DTYPE_BYTES.get(dtype, 2.0)
    if quantization is None:
        return math.ceil(geometry.parameters * full), f"{geometry.parameters:,} parameters x {full:g} B"
    bits = QUANTIZED_BITS.get(quantization, FEWEST_BITS)
    # Embeddings stay as they are; whether the output layer shares them is not known, so they count once.
    kept = min((geometry.vocabulary or 0) * (geometry.hidden_size or 0), geometry.parameters)
    said = f"{geometry.parameters - kept:,} parameters x {bits:g} bits ({quantization})"
    if kept:
        said += f" + {kept:,} of the embeddings x {full:g} B"
    return math.ceil((geometry.parameters - kept) * bits / 8 + kept * full), said


def kv_cache_bytes(
    geometry: Geometry, tokens: int, *, dtype: str, kv_cache_dtype: str, tensor_parallel: int, pipeline_parallel: int
) -> tuple[int, str]:
    """Returns the bytes of one sequence's cache on one GPU, and how they were counted."""
    element = KV_BYTES.get(kv_cache_dtype, FP8_KV if kv_cache_dtype.startswith("fp8") else SMALLEST_KV)
    if kv_cache_dtype == "auto":
        element = DTYPE_BYTES.get(dtype, 2.0)
    layers = math.ceil(geometry.layers / pipeline_parallel)
    if geometry.latent_dim is not None:
        # Every GPU of a tensor-parallel group holds the whole latent.
        each = geometry.latent_dim * element
        said = f"{layers} layers x {geometry.latent_dim} (latent) x {element:g} B"
    else:
        heads = max(1, geometry.kv_heads // tensor_parallel)  # with more GPUs than heads, heads are repeated
        each = 2 * heads * geometry.head_dim * element
        said = f"2 x {layers} layers x {heads} kv heads x {geometry.head_dim} x {element:g} B"
    windowed = 0
    if geometry.window is not None and geometry.window < tokens:
        of_all = geometry.layers if geometry.windowed_layers is None else geometry.windowed_layers
        windowed = math.floor(of_all / pipeline_parallel)
    positions = (layers - windowed) * tokens + windowed * (geometry.window or 0)
    said += f" x {tokens:,} tokens"
    if windowed:
        said += f" ({windowed} layers keep {geometry.window:,})"
    return math.ceil(each * positions), said


def fit(model: VllmModel, gpu: Accelerator, geometry: Geometry, on_disk: Weights | None = None) -> Fit:
    """Counts what one GPU of a replica needs. `on_disk` are the weights themselves, where they are here."""
    if on_disk is not None and (model.quantization is None or on_disk.quantized) and model.dtype not in DTYPE_BYTES:
        total, how = on_disk.bytes, "the weights' files"
    else:
        total, how = weights_bytes(geometry, model.dtype, model.quantization)
    share = math.ceil(total / model.gpus)
    lines = [f"weights    {how} / {model.gpus} GPU{'s' if model.gpus > 1 else ''} = {gib(share)}"]
    tokens = model.context or geometry.context
    if tokens:
        one, said = kv_cache_bytes(
            geometry,
            tokens,
            dtype=model.dtype,
            kv_cache_dtype=model.kv_cache_dtype,
            tensor_parallel=model.tensor_parallel,
            pipeline_parallel=model.pipeline_parallel,
        )
        requests = model.full_context_requests
        lines.append(f"KV cache   {said} x {requests} request{'s' if requests > 1 else ''} = {gib(one * requests)}")
    else:
        one = requests = 0
        lines.append("KV cache   not counted: neither context nor geometry.context is given")
    available = int(gpu.memory_bytes * model.gpu_memory_utilization)
    result = Fit(share, one * requests, available, ())
    lines += [
        f"overhead   {gib(OVERHEAD)} (estimate)",
        f"needed     {gib(result.needed)} of each GPU",
        f"available  {gib(gpu.memory_bytes)} ({gpu.product}) x {model.gpu_memory_utilization:g} = {gib(available)}",
    ]
    if not result.fits:
        lines.append(f"does not fit: {gib(result.needed - available)} are missing on each GPU")
    elif one:
        room = (available - share - OVERHEAD) // one
        lines.append(f"fits, with room for {room:,} requests of full length; max_num_seqs is {model.max_num_seqs:,}")
    else:
        lines.append("fits, as far as it is counted")
    return Fit(share, one * requests, available, tuple(lines))


def on_disk(model: VllmModel) -> Weights | None:
    """Returns the weights where they are on this host; None where they are not, or cannot be read."""
    if not model.source.startswith("file://"):
        return None
    try:
        return from_folder(Path(model.source.removeprefix("file://")))
    except (OSError, ValueError):
        return None


def of(config: StackConfig, model: VllmModel) -> Fit | None:
    """Counts what a model of the stack needs; None when its geometry or its GPUs are not known."""
    pool = _pool(config, model)
    gpu = placement.gpu(config, pool) if pool else None
    there = on_disk(model)
    geometry = _geometry(model, there)
    return fit(model, gpu, geometry, there) if gpu and geometry else None


def _pool(config: StackConfig, model: VllmModel) -> Pool | None:
    return next((p for p in config.pools if p.name == model.pool), None)


def _geometry(model: VllmModel, there: Weights | None) -> Geometry | None:
    return model.geometry or (there.geometry if there else None)


def mistakes(config: StackConfig) -> list[Mistake]:
    """Models of engine `vllm` that cannot run where they are put."""
    return [
        mistake
        for i, model in enumerate(config.models)
        if isinstance(model, VllmModel) and (mistake := _mistake(config, i, model))
    ]


def _mistake(config: StackConfig, i: int, model: VllmModel) -> Mistake | None:
    if config.target == "local":
        return Mistake(f"models[{i}].engine", "vllm needs GPUs, and target local has none", "use llamacpp or remote")
    pool = _pool(config, model)
    if pool is None:
        return None  # another check says so
    if pool.gpus < model.gpus:
        problem = f"a replica needs {model.gpus} GPUs on one node, and pods of pool '{pool.name}' have {pool.gpus}"
        fix = "name a pool with enough gpus, or lower tensor_parallel or pipeline_parallel"
        return Mistake(f"models[{i}].pool", problem, fix)
    there = on_disk(model)
    geometry = _geometry(model, there)
    if geometry is None:
        return None
    if model.tensor_parallel > 1 and geometry.latent_dim is None:
        low, high = sorted((geometry.kv_heads, model.tensor_parallel))
        if high % low:
            problem = f"{model.tensor_parallel} GPUs cannot share {geometry.kv_heads} key-value heads"
            return Mistake(f"models[{i}].tensor_parallel", problem, "one must divide the other")
    gpu = placement.gpu(config, pool)
    result = fit(model, gpu, geometry, there) if gpu else None
    if result is None or result.fits:
        return None
    arithmetic = "; ".join(" ".join(line.split()) for line in result.lines)
    problem = f"'{model.name}' and the GPUs of pool '{pool.name}': {arithmetic}"
    return Mistake(f"models[{i}]", problem, "lower context, quantise, share it among more GPUs, or take larger ones")
