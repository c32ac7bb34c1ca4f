"""What all trainers share: the adapter, their settings, and the way from a checkpoint to the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig

from serving.tuning.callbacks import Reporting, newest
from serving.tuning.interruption import Interruption, TuningInterrupted
from serving.tuning.plan import LINEAR, Plan, RecipeFailed
from serving.tuning.progress import EventLog
from serving.tuning.retention import Retained
from serving.tuning.rows import Row


@dataclass(frozen=True, slots=True)
class TuningRun:
    """One attempt of a job: its plan, and whom it talks to."""

    plan: Plan
    progress: EventLog
    interruption: Interruption


def adapter(plan: Plan, task: str = "CAUSAL_LM") -> LoraConfig:
    """Returns the shape of an adapter: LoRA on all linear layers, with a scale of 2."""
    return LoraConfig(r=plan.rank, lora_alpha=2 * plan.rank, target_modules=list(LINEAR), task_type=task)


def settings(plan: Plan, **more: Any) -> dict[str, Any]:
    """Returns the settings of every trainer. One step is one batch, and everything random is derived from the seed."""
    return {
        "output_dir": str(plan.checkpoints),
        "max_steps": plan.steps,
        "per_device_train_batch_size": plan.batch,
        "per_device_eval_batch_size": plan.batch,
        "learning_rate": plan.rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": int(plan.warmup * plan.steps),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": plan.checkpoint_every,
        "save_total_limit": 2,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "report_to": [],
        "disable_tqdm": True,
        **more,
    }


def keeping(trainer: type[Any], retention: Retained | None, plan: Plan) -> type[Any]:
    """Returns a trainer whose loss includes the divergence from the base off the task."""
    if retention is None:
        return trainer
    kept = retention

    class Keeping(trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
            found = super().compute_loss(model, inputs, return_outputs, **more)
            if not model.training:
                return found
            extra = kept.loss(model, self.state.global_step)
            self.retained = float(extra.detach())
            loss, *outputs = found if return_outputs else (found,)
            loss = loss + plan.retain_weight * extra.to(loss.device)
            return (loss, *outputs) if return_outputs else loss

        def log(self, logs: dict[str, float], *arguments: Any, **more: Any) -> None:
            if "loss" in logs:
                logs["retain_loss"] = self.retained
            super().log(logs, *arguments, **more)

    return Keeping


def dataset(rows: list[Row]) -> Dataset:
    """Returns rows as trainers take them."""
    return Dataset.from_list(rows)


def train(run: TuningRun, trainer: Any) -> None:
    """Trains from the newest checkpoint on, to the last step. Raises `TuningInterrupted` and `RecipeFailed`."""
    plan = run.plan
    trainer.add_callback(Reporting(run.progress, run.interruption))
    run.interruption.check()
    checkpoint = newest(plan.checkpoints)
    run.progress.say("stage", stage="training", resumed_from=checkpoint.name if checkpoint else None)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    done = trainer.state.global_step
    if done < plan.steps:
        raise TuningInterrupted(done)


def evaluate(run: TuningRun, trainer: Any, *, report: bool = False) -> float | None:
    """Returns the loss on held-out rows; None without such rows. `report` says it, and that training has ended."""
    if trainer.eval_dataset is None:
        return None
    run.interruption.check(run.plan.steps if report else 0)
    loss = round(float(trainer.evaluate()["eval_loss"]), 6)
    if report:
        run.progress.say("held_out", loss=loss)
    return loss


def save(model: Any, out: Path) -> None:
    """Writes an adapter, or a model, as safetensors. Raises `RecipeFailed` when a weight is not a number."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and not torch.isfinite(weight).all():
            raise RecipeFailed("not_finite", f"the weights of {name} are not numbers: lower the learning rate")
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out, safe_serialization=True)
