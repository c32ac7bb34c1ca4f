"""LoRA adapters: whether one fits a base model, and its conversion from PEFT's format to llama.cpp's.

PEFT's format is `adapter_config.json` and `adapter_model.safetensors`. The product of an adapter's pair of matrices,
B·A, is added to a weight matrix of the base with a scale: alpha / rank, or alpha / √rank with rsLoRA (Kalajdzievski,
"A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023). llama.cpp always divides by the rank.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.hub.base_facts import BaseFacts
from serving.hub.names import CONFIG, WEIGHTS

MAX_CONFIG = 1 << 20
"""Maximum size of the configuration in bytes."""

_PERMUTED: Mapping[str, bool] = {"llama": True, "qwen2": False, "qwen3": False, "gemma3": False}
"""Architectures that are converted, and whether llama.cpp stores their queries and keys in another order."""

_KEY = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_.]+)\.lora_(?P<half>[AB])(\.default)?\.weight")

_BLOCK = re.compile(r"model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj|lm_head")
"""Modules of a base whose weights are not on this host."""

_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}

_UNSUPPORTED = {
    "use_dora": "DoRA is not supported",
    "use_qalora": "QA-LoRA is not supported",
    "fan_in_fan_out": "transposed weights are not supported",
    "modules_to_save": "modules_to_save would replace weights of the base",
    "layer_replication": "layer_replication would change the base",
    "trainable_token_indices": "trainable tokens would change the base",
    "target_parameters": "target_parameters are not supported",
    "lora_bias": "biases are not supported",
    "megatron_config": "Megatron's layers are not supported",
    "alora_invocation_tokens": "activated LoRA is not supported",
}

_CHANGES_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Beginnings of the names of initialisations that change the base's weights."""

Matrix = NDArray[np.float32]


class InvalidAdapter(ValueError):
    """The adapter cannot be used; the message says why, without text of its files."""


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """An adapter that fits its base: its highest rank, and its numbers of adapted matrices and of parameters."""

    rank: int
    modules: int
    parameters: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """The matrices of one module, float32: `a` is (rank, in), `b` is (out, rank). `scale` multiplies B·A."""

    a: Matrix
    b: Matrix
    scale: float

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])


def check_adapter(folder: Path, base: BaseFacts) -> AdapterFacts:
    """Returns the facts of a PEFT adapter. Raises `InvalidAdapter` if it does not fit `base`."""
    rank = modules = parameters = 0
    for _, pair in _pairs(folder, base):
        rank, modules = max(rank, pair.rank), modules + 1
        parameters += pair.a.size + pair.b.size
    return AdapterFacts(rank, modules, parameters)


def to_gguf(folder: Path, base: BaseFacts, out: Path) -> None:
    """Writes a PEFT adapter as a GGUF file for llama.cpp. Raises `InvalidAdapter` if it does not fit `base`, whose
    architecture must be known.
    """
    from gguf import GGUFWriter

    permute = _PERMUTED.get(base.architecture or "")
    if base.architecture is None or permute is None:
        raise InvalidAdapter(f"adapters of the architecture {base.architecture} are not converted: convert it yourself")
    pairs = dict(_pairs(folder, base))
    alpha = max(pair.scale * pair.rank for pair in pairs.values())
    writer = GGUFWriter(out, base.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, pair in pairs.items():
        # llama.cpp's scale is alpha / rank, with one alpha for all matrices.
        b = pair.b if alpha == pair.scale * pair.rank else pair.b * np.float32(pair.scale * pair.rank / alpha)
        if permute and re.search(r"\.attn_[qk]\.", name):
            b = permuted(b, base.heads if ".attn_q." in name else base.kv_heads)
        writer.add_tensor(f"{name}.lora_a", _half(pair.a))
        writer.add_tensor(f"{name}.lora_b", _half(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def permuted(b: Matrix, heads: int) -> Matrix:
    """Returns rows in llama.cpp's order: it rotates neighbouring elements of a head, and the original model those that
    are half a head apart.
    """
    out, columns = b.shape
    return b.reshape(heads, 2, out // heads // 2, columns).swapaxes(1, 2).reshape(out, columns)


def _half(values: Matrix) -> NDArray[Any]:
    """Returns float16, half the size, unless values are beyond its range."""
    return values.astype(np.float16) if np.abs(values).max() < np.finfo(np.float16).max else values


def _pairs(folder: Path, base: BaseFacts) -> Iterator[tuple[str, _Pair]]:
    """Yields the checked matrices of each module, by GGUF's name of its weight, or its own without an architecture."""
    scale_of = _scales(_read_config(folder))
    halves: dict[str, dict[str, NDArray[Any]]] = {}
    for key, values in _tensors(folder / WEIGHTS).items():
        if (found := _KEY.fullmatch(key)) is None:
            raise InvalidAdapter("it contains tensors other than the halves lora_A and lora_B of linear layers")
        if halves.setdefault(found["module"], {}).setdefault(found["half"], values) is not values:
            raise InvalidAdapter("it contains a half twice")
    if not halves:
        raise InvalidAdapter("it contains no tensors")
    names = _names(base)
    for module, of in sorted(halves.items()):
        if of.keys() != {"A", "B"}:
            raise InvalidAdapter("a matrix has only one of its halves lora_A and lora_B")
        name = names(module)
        a, b = _checked(of["A"], of["B"], base.shapes.get(name), base.max_rank)
        yield name, _Pair(a, b, scale_of(module, int(a.shape[0])))


def _checked(a: NDArray[Any], b: NDArray[Any], shape: tuple[int, int] | None, max_rank: int) -> tuple[Matrix, Matrix]:
    """Returns both halves as float32; raises `InvalidAdapter`. `shape` is that of the base's matrix, if known."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise InvalidAdapter("the halves of a matrix do not match")
    if shape is not None and (b.shape[0], a.shape[1]) != shape:
        raise InvalidAdapter("the shape of a matrix differs from the base's: it was trained for another model")
    require_rank(int(a.shape[0]), max_rank)
    for half in (a, b):
        if not np.isfinite(half).all():
            raise InvalidAdapter("it contains values that are not finite")
    return a, b


def require_rank(rank: int, max_rank: int) -> None:
    """Raises `InvalidAdapter` for a rank beyond the engine's."""
    if not 1 <= rank <= max_rank:
        raise InvalidAdapter(f"its rank is {rank}, and the model's highest is {max_rank}")


def _names(base: BaseFacts) -> Any:
    """Returns a function from a module's name to that of its weight; it raises `InvalidAdapter` for unknown ones."""
    if base.architecture is None:

        def known(module: str) -> str:
            if not _BLOCK.fullmatch(module):
                raise InvalidAdapter("it adapts modules other than the linear layers of attention and MLP")
            return module

        return known
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next((arch for arch, name in MODEL_ARCH_NAMES.items() if name == base.architecture), None)
    if arch is None:
        raise InvalidAdapter(f"the architecture {base.architecture} is unknown")
    table = get_tensor_name_map(arch, base.blocks)

    def mapped(module: str) -> str:
        name = table.get_name(f"{module}.weight", try_suffixes=(".weight",))
        if name is None or name not in base.shapes:
            raise InvalidAdapter("it adapts modules that the base does not have: it was trained for another model")
        return name

    return mapped


def _read_config(folder: Path) -> dict[str, Any]:
    """Returns the configuration. Raises `InvalidAdapter` for what would be ignored."""
    try:
        with (folder / CONFIG).open("rb") as file:
            content = file.read(MAX_CONFIG + 1)
        config = json.loads(content) if len(content) <= MAX_CONFIG else None
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InvalidAdapter(f"{CONFIG} is not a JSON object of at most {MAX_CONFIG} bytes")
    if config.get("peft_type") != "LORA":
        raise InvalidAdapter("its peft_type is not LORA")
    for name, reason in _UNSUPPORTED.items():
        if config.get(name):
            raise InvalidAdapter(reason)
    if config.get("bias", "none") != "none":
        raise InvalidAdapter("biases are not supported")
    if str(config.get("init_lora_weights", True)).lower().startswith(_CHANGES_BASE):
        raise InvalidAdapter("its initialisation changes the base's weights: convert it to plain LoRA first")
    return config


def _scales(config: Mapping[str, Any]) -> Any:
    """Returns a function from a module and its rank to its scale."""
    alphas = config.get("alpha_pattern") or {}
    if not isinstance(alphas, dict) or not all(map(_is_number, [config.get("lora_alpha"), *alphas.values()])):
        raise InvalidAdapter("its lora_alpha or alpha_pattern has values that are not finite numbers")

    def scale(module: str, rank: int) -> float:
        alpha = next((a for end, a in alphas.items() if _ends(module, end)), config["lora_alpha"])
        return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)

    return scale


def _ends(module: str, end: str) -> bool:
    """Tells whether a name of `alpha_pattern` means a module. Patterns with other signs are not supported."""
    if not re.fullmatch(r"[A-Za-z0-9_.]+", end):
        raise InvalidAdapter("alpha_pattern has regular expressions: name modules there")
    return module == end or module.endswith(f".{end}")


def _is_number(value: object) -> bool:
    # As GGUF's float32, a smaller one would be 0, which is full strength for llama.cpp.
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e-9 < value < 1e9


def _tensors(file: Path) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a safetensors file as float32. Raises `InvalidAdapter`."""
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, SafetensorError, ValueError, OverflowError):
        raise InvalidAdapter(f"{WEIGHTS} is missing, damaged or incomplete") from None
    tensors = {}
    for name, tensor in found:
        if tensor["dtype"] not in _DTYPES:
            raise InvalidAdapter("its values are neither F32, F16 nor BF16")
        values = np.frombuffer(tensor["data"], dtype=_DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = values.astype(np.float32, copy=False)
    return tensors
