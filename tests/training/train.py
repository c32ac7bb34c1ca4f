"""Takes two steps with one of TRL's trainers, as a user of an export would; `docs/how-to/export-feedback.md` has it.

Runs with the packages of `requirements/training.txt` alone: `train.py METHOD FOLDER GGUF OUTPUT` prints one line of
JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    SFTConfig,
    SFTTrainer,
)

STEPS = 2
LORA = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def brevity(completions: list[Any], **_: object) -> list[float]:
    """Rewards short answers: something that needs no other model."""
    return [-float(len(completion[0]["content"])) for completion in completions]


METHODS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "sft": (SFTTrainer, SFTConfig, {}),
    "dpo": (DPOTrainer, DPOConfig, {}),
    "kto": (KTOTrainer, KTOConfig, {}),
    "grpo": (GRPOTrainer, GRPOConfig, {"num_generations": 2, "max_completion_length": 8}),
}


def main(method: str, folder: Path, gguf: Path, output: Path) -> None:
    # On a busy host with two cores two threads took three times as long as one.
    torch.set_num_threads(1)
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}
    data = load_dataset("json", data_files=files, cache_dir=str(output / "cache"))
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # Its weights are whole again, but it still says that they are quantised.
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    kind, config, particular = METHODS[method]
    trainer = kind(
        model=model,
        args=config(
            output_dir=str(output),
            max_steps=STEPS,
            per_device_train_batch_size=2,
            per_device_eval_batch_size=2,
            learning_rate=1e-4,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            **particular,
        ),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        processing_class=tokenizer,
        peft_config=LORA,
        **({"reward_funcs": brevity} if method == "grpo" else {}),
    )
    result = trainer.train()
    print(
        json.dumps(
            {
                "rows": {split: len(rows) for split, rows in data.items()},
                "columns": sorted(data["train"].column_names),
                "steps": result.global_step,
                "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
                # LoRA's B is zero before the first step.
                "moved": sum(
                    float(weight.detach().abs().sum())
                    for name, weight in trainer.model.named_parameters()
                    if "lora_B" in name
                ),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
