"""Distillation: a model is tuned to another one's distribution of each next token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import get_peft_model
from transformers import Trainer, TrainingArguments

from serving.tuning import bases, measuring
from serving.tuning.divergence import Batch, Collator, counted, kl, logits
from serving.tuning.plan import RecipeFailed
from serving.tuning.rows import Row, of_method
from serving.tuning.training import TuningRun, adapter, evaluate, save, settings, train


class DivergenceTrainer(Trainer):  # type: ignore[misc]  # transformers has no types
    """A trainer whose loss is the divergence of the model's answers from those of a `teacher`."""

    def __init__(self, *, teacher: Any, temperature: float, **more: Any) -> None:
        super().__init__(**more)
        self._teacher = teacher
        self._temperature = temperature

    def compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False, **_: Any) -> Any:
        """Returns the loss of a batch."""
        with torch.no_grad():
            wanted = logits(self._teacher, inputs)
        given = logits(model, inputs)
        loss = kl(given, wanted, counted(inputs), self._temperature)
        return (loss, {"logits": given}) if return_outputs else loss


@dataclass(frozen=True, slots=True)
class Followed:
    """A student, and its divergence from its teacher on held-out rows, in nats per token of answers: None without
    such rows.
    """

    student: Any
    before: float | None
    after: float | None


def follow(
    run: TuningRun, student: Any, teacher: Any, tokenizer: Any, rows: list[Row], held_out: list[Row]
) -> Followed:
    """Trains a student with an adapter to follow a teacher on chats."""
    plan = run.plan
    trainer = DivergenceTrainer(
        model=student,
        teacher=teacher.eval(),
        temperature=plan.temperature,
        args=TrainingArguments(
            **settings(plan, remove_unused_columns=False, label_names=["answers"], prediction_loss_only=True)
        ),
        train_dataset=rows,
        eval_dataset=held_out or None,
        data_collator=Collator(tokenizer, plan.max_tokens),
    )
    before = evaluate(run, trainer)  # a new adapter changes nothing
    train(run, trainer)
    return Followed(trainer.model, before, evaluate(run, trainer, report=True))


def distil(run: TuningRun) -> None:
    """Tunes the base to the plan's teacher; the result is an adapter of the base."""
    plan = run.plan
    assert plan.teacher is not None
    rows, held_out = of_method(plan, plan.rows), of_method(plan, plan.held_out, needed=False)
    folder = bases.folder(plan.base, plan.bases, run.progress)
    teachers = bases.folder(plan.teacher, plan.bases, run.progress)
    run.interruption.check()
    run.progress.say("stage", stage="loading the base and its teacher")
    tokenizer = bases.tokenizer(folder)
    if bases.tokenizer(teachers).get_vocab() != tokenizer.get_vocab():
        raise RecipeFailed("other_vocabulary", "the teacher has other tokens than the base: they must have the same")
    student = get_peft_model(bases.load(folder), adapter(plan))
    followed = follow(run, student, bases.load(teachers), tokenizer, rows, held_out)
    save(followed.student, plan.out)
    if followed.before is not None:
        measuring.write(plan, run.progress, {"divergence": {"before": followed.before, "after": followed.after}})
