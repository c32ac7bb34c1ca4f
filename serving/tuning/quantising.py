"""Quantisation of GGUF files by the engine's own functions, which its shared library exports.

The type of each tensor is chosen as llama.cpp does for its mixtures: more bits for the output, and for some values and
down projections. The library does not export the function that does it there, so equality is not claimed.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, Keys, LlamaFileType

from serving.tuning import gguf_file
from serving.tuning.gguf_file import Array
from serving.tuning.interruption import Interruption
from serving.tuning.measuring import measure
from serving.tuning.plan import Plan, RecipeFailed
from serving.tuning.progress import EventLog

Q = GGMLQuantizationType


@dataclass(frozen=True, slots=True)
class Mixture:
    """The types of a quantised file: of most tensors, and of those that need more bits."""

    most: GGMLQuantizationType
    more: GGMLQuantizationType
    file_type: LlamaFileType


MIXTURES: Mapping[str, Mixture] = {
    "Q8_0": Mixture(Q.Q8_0, Q.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q6_K": Mixture(Q.Q6_K, Q.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "Q5_K": Mixture(Q.Q5_K, Q.Q6_K, LlamaFileType.MOSTLY_Q5_K_M),
    "Q4_K": Mixture(Q.Q4_K, Q.Q6_K, LlamaFileType.MOSTLY_Q4_K_M),
    "Q4_0": Mixture(Q.Q4_0, Q.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""Mixtures by name. `plan` has the names alone, for the side without gguf; a test compares them."""

NARROW: Mapping[GGMLQuantizationType, GGMLQuantizationType] = {
    Q.Q6_K: Q.Q8_0,
    Q.Q5_K: Q.Q5_1,
    Q.Q4_K: Q.Q5_0,
}
"""Types for rows that are no multiple of 256 values, in place of those that need it."""


def type_of(name: str, shape: tuple[int, ...], blocks: int, mixture: Mixture, *, tied: bool) -> GGMLQuantizationType:
    """Returns the type of one tensor, whose `shape` ends with the length of its rows.

    `tied` tells that the file has no output of its own, so that the embedding is the output.
    """
    if len(shape) < 2 or not name.endswith(".weight"):
        return Q.F32
    chosen = mixture.most
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        chosen = Q.Q8_0 if mixture.more == Q.Q4_0 else mixture.more
    elif name.startswith("blk.") and name.endswith((".attn_v.weight", ".ffn_down.weight")):
        block = int(name.split(".")[1])
        eighth = blocks // 8
        if block < eighth or block >= 7 * blocks // 8 or (block - eighth) % 3 == 2:
            chosen = mixture.more
    if shape[-1] % GGML_QUANT_SIZES[chosen][0]:
        chosen = NARROW.get(chosen, Q.F16)
    return Q.F16 if shape[-1] % GGML_QUANT_SIZES[chosen][0] else chosen


def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("xllamacpp")
    found = (
        [file for place in (spec.submodule_search_locations or ()) for file in Path(place).glob("*.so")] if spec else []
    )
    if len(found) != 1:
        raise RecipeFailed("no_engine", "the package xllamacpp, which quantises, is not installed")
    library = ctypes.CDLL(str(found[0]))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        *(ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),
        ctypes.c_void_p,
    ]
    return library


class Quantiser:
    """The engine's functions."""

    def __init__(self) -> None:
        self._library = _library()

    def quantise(self, values: Array, type: GGMLQuantizationType) -> Array:
        """Returns the bytes of a tensor: uint8[..., bytes of a row]. `values` has float32."""
        rows = int(np.prod(values.shape[:-1]))
        length = values.shape[-1]
        block, size = GGML_QUANT_SIZES[type]
        source = np.ascontiguousarray(values, np.float32)
        target = np.empty((*values.shape[:-1], length // block * size), np.uint8)
        self._library.ggml_quantize_init(int(type))
        written = self._library.ggml_quantize_chunk(
            int(type), source.ctypes.data, target.ctypes.data, 0, rows, length, None
        )
        if written != target.nbytes:
            raise RecipeFailed("quantisation_failed", f"the engine wrote {written} of {target.nbytes} bytes")
        return target


def quantise(source: Path, name: str, out: Path, progress: EventLog, interruption: Interruption) -> None:
    """Writes the file `out`: the tensors of `source` in the types of a mixture.

    Raises `RecipeFailed` for a damaged file and for values that are not numbers.
    """
    mixture = MIXTURES[name]
    try:
        reader = GGUFReader(source)
    except (ValueError, OSError, IndexError) as e:
        raise RecipeFailed("unsupported_base", f"{source.name} is not a complete GGUF file: {e}") from None
    blocks = int(gguf_file.metadata(reader, f"{gguf_file.architecture(reader)}.block_count") or 0)
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    quantiser = Quantiser()
    partial = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    changed = {Keys.General.FILE_TYPE: int(mixture.file_type), Keys.General.QUANTIZATION_VERSION: 2}
    writer = gguf_file.copied(reader, partial, changed)
    for number, tensor in enumerate(reader.tensors, 1):
        interruption.check(number - 1)
        values = gguf_file.values(tensor)
        if not np.isfinite(values).all():
            raise RecipeFailed("not_finite", f"{tensor.name} has values that are not numbers")
        type = type_of(tensor.name, values.shape, blocks, mixture, tied=tied)
        if type in (Q.F32, Q.F16):
            writer.add_tensor(tensor.name, values.astype(np.float32 if type == Q.F32 else np.float16))
        else:
            writer.add_tensor(tensor.name, quantiser.quantise(values, type), raw_dtype=type)
        progress.say("step", step=number, of=len(reader.tensors))
    gguf_file.finish(writer)
    partial.rename(out)


def quantise_job(plan: Plan, progress: EventLog, interruption: Interruption) -> None:
    """Quantises the plan's base, and measures what that costs."""
    model = plan.out / "model.gguf"
    quantise(Path(plan.base.path), plan.type, model, progress, interruption)
    measure(plan, model, progress, interruption)
