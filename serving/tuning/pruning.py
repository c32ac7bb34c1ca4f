"""Depth pruning: the blocks that change a text's representation least are removed, and the rest is healed.

Blocks are chosen by block influence, 1 minus the cosine between a block's input and output (ShortGPT, 2024). Healing
is distillation from the whole model; the result is a model of its own, as safetensors and as a GGUF file.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from peft import get_peft_model
from torch import nn
from torch.nn import functional

from serving.tuning import bases, gguf_file
from serving.tuning.distillation import follow
from serving.tuning.divergence import Collator, counted, logits
from serving.tuning.measuring import measure
from serving.tuning.plan import RecipeFailed
from serving.tuning.rows import Row, of_method
from serving.tuning.training import TuningRun, adapter, save

SAMPLES = 32
"""Number of rows on which the influence of blocks is measured."""


def prune(run: TuningRun) -> None:
    """Prunes the base and heals it."""
    plan = run.plan
    rows, held_out = of_method(plan, plan.rows), of_method(plan, plan.held_out, needed=False)
    folder = bases.folder(plan.base, plan.bases, run.progress)
    run.interruption.check()
    run.progress.say("stage", stage="loading the base")
    whole, tokenizer = bases.load(folder).eval(), bases.tokenizer(folder)
    kept = plan.checkpoints / "blocks.json"
    if kept.exists():
        removed = json.loads(kept.read_text(encoding="utf-8"))
    else:
        run.progress.say("stage", stage="measuring blocks")
        influence = influences(whole, Collator(tokenizer, plan.max_tokens, whole=True), rows[:SAMPLES])
        removed = least(influence, plan.layers)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(removed), encoding="utf-8")
        run.progress.say("pruned", removed=removed, influence=[round(each, 6) for each in influence])
    collator = Collator(tokenizer, plan.max_tokens)
    losses = {"whole": answer_loss(whole, collator, held_out)}
    pruned = without(whole, removed)
    losses["pruned"] = answer_loss(pruned, collator, held_out)
    followed = follow(run, get_peft_model(pruned, adapter(plan)), whole, tokenizer, rows, held_out)
    losses["healed"] = answer_loss(followed.student, collator, held_out)
    run.progress.say("stage", stage="writing the model")
    merged = followed.student.merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)  # so that all are checked
    save(merged, plan.out)
    tokenizer.save_pretrained(plan.out)
    weights = {name: weight.detach().numpy() for name, weight in merged.state_dict().items()}
    blocks = len(merged.model.layers)
    model = plan.out / "model.gguf"
    gguf_file.write_model(plan.base.path, weights, blocks, model)
    more: dict[str, Any] = {}
    if held_out:
        divergence = {"before": followed.before, "after": followed.after}
        more = {"loss": {**losses, "recovered": recovered(**losses)}, "divergence": divergence}
    del whole, pruned, merged, weights, followed  # their memory is for the engine
    measure(plan, model, run.progress, run.interruption, **more)


def recovered(whole: float, pruned: float, healed: float) -> float | None:
    """Returns the share of the loss by pruning that healing took back; None if pruning lost nothing."""
    return round((pruned - healed) / (pruned - whole), 4) if pruned > whole else None


def answer_loss(model: Any, collator: Collator, rows: Sequence[Row]) -> float:
    """Returns the mean negative log likelihood of answers, in nats per token; 0 without rows."""
    was, total, tokens = model.training, 0.0, 0
    model.eval()
    for row in rows:
        batch = collator([row])
        with torch.no_grad():
            found = functional.log_softmax(logits(model, batch).float(), dim=-1)
        where = counted(batch)
        following = batch["input_ids"].roll(-1, dims=1)
        total -= float(found[where].gather(-1, following[where].unsqueeze(-1)).sum())
        tokens += int(where.sum())
    model.train(was)
    return round(total / tokens, 6) if tokens else 0.0


def influences(model: Any, collator: Collator, rows: Sequence[Row]) -> list[float]:
    """Returns the influence of each block, averaged over the tokens of rows."""
    total, tokens = torch.zeros(len(model.model.layers)), 0
    for row in rows:
        batch = collator([row])
        with torch.no_grad():
            found = model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                output_hidden_states=True,
                use_cache=False,
            ).hidden_states
        # The last of them has passed the final norm as well; the last block is never removed.
        total += torch.stack([(1 - functional.cosine_similarity(a, b, dim=-1)).sum() for a, b in pairwise(found)])
        tokens += batch["input_ids"].shape[1]
    return [float(each) for each in total / tokens]


def least(influence: Sequence[float], count: int) -> list[int]:
    """Returns the `count` blocks with the least influence, of all but the first and the last."""
    inner = range(1, len(influence) - 1)
    if count >= len(inner):
        raise RecipeFailed("too_many_layers", f"at most {len(inner) - 1} of the base's {len(influence)} can be removed")
    return sorted(sorted(inner, key=lambda block: influence[block])[:count])


def without(model: Any, removed: Sequence[int]) -> Any:
    """Returns a copy of a model without some of its blocks."""
    config = copy.deepcopy(model.config)
    kept = [block for block in range(config.num_hidden_layers) if block not in removed]
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[block] for block in kept]
    pruned = copy.deepcopy(model)
    pruned.config = pruned.model.config = config
    pruned.model.layers = nn.ModuleList([pruned.model.layers[block] for block in kept])
    for number, block in enumerate(pruned.model.layers):
        block.self_attn.layer_idx = number
    return pruned.train()
