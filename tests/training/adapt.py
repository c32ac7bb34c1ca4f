"""Makes a random adapter with PEFT and says what the adapted model predicts after a prompt.

Runs with the packages of `requirements/training.txt` alone: `adapt.py GGUF OUTPUT` writes the adapter to the folder
OUTPUT, and prints one line of JSON: the prompt's tokens, and the log probabilities of the next token, with the adapter
and without.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

LORA = LoraConfig(
    r=8,
    lora_alpha=12,
    use_rslora=True,
    alpha_pattern={"v_proj": 6},
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    task_type="CAUSAL_LM",
)
PROMPT = "The heron stands in shallow water and waits, and the mill beside it"


def main(gguf: Path, output: Path) -> None:
    torch.manual_seed(1)
    of = {"gguf_file": gguf.name}
    tokens = AutoTokenizer.from_pretrained(gguf.parent, **of)(PROMPT, return_tensors="pt").input_ids
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **of), LORA)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_" in name:
                weights.normal_(std=0.05 if "lora_A" in name else 0.03)
        adapted = model(tokens).logits[0, -1].log_softmax(-1)
        with model.disable_adapter():
            base = model(tokens).logits[0, -1].log_softmax(-1)
    model.save_pretrained(output)
    print(json.dumps({"tokens": tokens[0].tolist(), "adapted": adapted.tolist(), "base": base.tolist()}))


if __name__ == "__main__":
    main(*(Path(each) for each in sys.argv[1:]))
