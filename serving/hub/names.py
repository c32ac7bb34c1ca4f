"""Words of the model hub that are said on the wire; importing them loads nothing."""

from __future__ import annotations

from typing import Literal

Kind = Literal["model", "adapter", "reward"]

VersionStatus = Literal["building", "ready", "rejected", "retired"]
"""`building` until its artefacts are complete and verified, then `ready`; `rejected` if that failed, or `retired`."""

Method = Literal["registered", "sft", "dpo", "kto", "reward", "distil", "quantise", "prune"]
"""How a version was made; `registered` ones were made elsewhere."""

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
GGUF = "adapter.gguf"
"""The files of an adapter: PEFT's two, and llama.cpp's."""
