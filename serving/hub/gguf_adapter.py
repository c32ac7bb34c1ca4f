"""Adapters in llama.cpp's format, which somebody else made: whether one fits a base model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from serving.hub.adapter import AdapterFacts, InvalidAdapter, require_rank
from serving.hub.base_facts import BaseFacts

_HALVES = (".lora_a", ".lora_b")


def check_gguf(file: Path, base: BaseFacts) -> AdapterFacts:
    """Returns the facts of an adapter in a GGUF file. Raises `InvalidAdapter` if it does not fit `base`, whose
    architecture must be known.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    try:
        reader = GGUFReader(file)
        kinds = [_text(reader, f"{name}.type") for name in ("general", "adapter")]
        architecture, alpha = _text(reader, "general.architecture"), reader.get_field("adapter.lora.alpha")
        scale = float(alpha.contents()) if alpha is not None else math.nan
    except Exception:  # the library checks little, so that a damaged file raises anything
        raise InvalidAdapter("the file is not GGUF, or is damaged or incomplete") from None
    if kinds != ["adapter", "lora"]:
        raise InvalidAdapter("the file contains no LoRA adapter")
    if architecture != base.architecture:
        raise InvalidAdapter("its architecture differs from the base's: it was trained for another model")
    if not math.isfinite(scale) or scale <= 0:
        raise InvalidAdapter("its alpha is not a positive finite number")
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    parameters = 0
    for tensor in reader.tensors:
        name, half = tensor.name[:-7], tensor.name[-7:]
        if half not in _HALVES or name not in base.shapes:
            raise InvalidAdapter("it adapts matrices that the base does not have: it was trained for another model")
        try:
            finite = bool(np.isfinite(dequantize(tensor.data, tensor.tensor_type)).all())
        except Exception:
            raise InvalidAdapter("the file is damaged, or its values have an unknown type") from None
        if not finite:
            raise InvalidAdapter("it contains values that are not finite")
        # GGUF has the fastest dimension first.
        shapes.setdefault(name, {})[half] = tuple(int(each) for each in reversed(tensor.shape))
        parameters += int(tensor.n_elements)
    if not shapes:
        raise InvalidAdapter("it contains no tensors")
    rank = 0
    for name, of in shapes.items():
        if of.keys() != set(_HALVES):
            raise InvalidAdapter("a matrix has only one of its halves lora_a and lora_b")
        a, b = (of[half] for half in _HALVES)
        if len(a) != 2 or len(b) != 2 or a[0] != b[1] or (b[0], a[1]) != base.shapes[name]:
            raise InvalidAdapter("the shape of a matrix differs from the base's: it was trained for another model")
        require_rank(a[0], base.max_rank)
        rank = max(rank, a[0])
    return AdapterFacts(rank, len(shapes), parameters)


def _text(reader: Any, name: str) -> str:
    found = reader.get_field(name)
    return str(found.contents()) if found is not None else ""
