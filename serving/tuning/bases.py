"""Bases as transformers reads them: weights of GGUF files, restored once and kept as safetensors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from serving.tuning.plan import Base, RecipeFailed
from serving.tuning.progress import EventLog


def folder(base: Base, bases: str, progress: EventLog) -> Path:
    """Returns the folder of a base's safetensors, restored at its first use: that takes 50 s for 135 M parameters."""
    if Path(base.path).is_dir():
        return Path(base.path)
    kept = Path(bases) / base.digest
    if kept.is_dir():
        return kept
    progress.say("stage", stage="restoring the base")
    partial = kept.with_name(f".{base.digest}.{os.getpid()}")
    try:
        _restore(Path(base.path), partial)
        try:
            partial.rename(kept)
        except OSError:
            if not kept.is_dir():  # otherwise another job was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return kept


def _restore(file: Path, target: Path) -> None:
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except (ValueError, KeyError, RuntimeError) as e:
        raise RecipeFailed("unsupported_base", f"transformers cannot read the base: {e}") from e
    # Its weights are whole again, but it still says that they are quantised.
    model.hf_quantizer, model.is_quantized = None, False
    if getattr(model.config, "quantization_config", None) is not None:
        del model.config.quantization_config
    target.mkdir(parents=True)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def load(path: Path) -> Any:
    """Returns the model of a folder, in float32."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def tokenizer(path: Path) -> Any:
    """Returns the tokenizer of a folder; one without a token for padding pads with the end of a text."""
    read = AutoTokenizer.from_pretrained(path)
    if read.pad_token is None:
        read.pad_token = read.eos_token
    if read.chat_template is None:
        raise RecipeFailed("unsupported_base", "the base has no chat template: it is not a chat model")
    return read
