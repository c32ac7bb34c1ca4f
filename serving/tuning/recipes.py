"""The recipes: those of TRL (supervised fine-tuning, DPO, KTO, a reward model) are here."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForSequenceClassification
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from serving.tuning import bases, retention
from serving.tuning.distillation import distil
from serving.tuning.interruption import Interruption
from serving.tuning.plan import Plan
from serving.tuning.progress import EventLog
from serving.tuning.pruning import prune
from serving.tuning.rows import of_method
from serving.tuning.training import TuningRun, adapter, dataset, evaluate, keeping, save, settings, train


def run(plan: Plan, progress: EventLog, interruption: Interruption) -> None:
    """Runs the plan's method; its result is in `plan.out`."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    this = TuningRun(plan, progress, interruption)
    {"distil": distil, "prune": prune, "reward": _reward}.get(plan.method, _by_trl)(this)


def _by_trl(run: TuningRun) -> None:
    plan = run.plan
    methods: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "sft": (SFTTrainer, SFTConfig, {"max_length": plan.max_tokens}),
        "dpo": (
            DPOTrainer,
            DPOConfig,
            {
                "max_length": plan.max_tokens,
                "beta": plan.beta,
                # Preferences alone taught a model to repeat what is preferred without an end: the loss on chosen
                # answers keeps it to answers.
                "loss_type": ["sigmoid", "sft"] if plan.sft_weight else ["sigmoid"],
                "loss_weights": [1.0, plan.sft_weight] if plan.sft_weight else None,
            },
        ),
        "kto": (KTOTrainer, KTOConfig, {"max_length": plan.max_tokens, "beta": plan.beta}),
    }
    kind, config, more = methods[plan.method]
    rows = of_method(plan, plan.rows)
    held_out = of_method(plan, plan.held_out, needed=False)
    folder = bases.folder(plan.base, plan.bases, run.progress)
    run.interruption.check()
    run.progress.say("stage", stage="loading the base")
    model, tokenizer = bases.load(folder), bases.tokenizer(folder)
    kept = retention.prepare(plan, model, tokenizer, run.progress)
    trainer = keeping(kind, kept, plan)(
        model=model,
        args=config(**settings(plan, **more)),
        train_dataset=dataset(rows),
        eval_dataset=dataset(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=adapter(plan),
    )
    train(run, trainer)
    evaluate(run, trainer, report=True)
    save(trainer.model, plan.out)


def _reward(run: TuningRun) -> None:
    """A model that gives an answer a number: higher for what was preferred."""
    plan = run.plan
    rows, held_out = of_method(plan, plan.rows), of_method(plan, plan.held_out, needed=False)
    folder = bases.folder(plan.base, plan.bases, run.progress)
    run.interruption.check()
    run.progress.say("stage", stage="loading the base")
    tokenizer = bases.tokenizer(folder)
    # The new layer that scores is random: the same for the same seed.
    torch.manual_seed(plan.seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(**settings(plan, max_length=plan.max_tokens)),
        train_dataset=dataset(rows),
        eval_dataset=dataset(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=adapter(plan, "SEQ_CLS"),
    )
    train(run, trainer)
    evaluate(run, trainer, report=True)
    save(trainer.model, plan.out)
