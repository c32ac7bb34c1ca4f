"""Keeps what a model says off the task: the divergence from the base on other questions is part of the loss."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from serving.tuning.divergence import Batch, Collator, counted, kl, logits
from serving.tuning.plan import Plan
from serving.tuning.progress import EventLog
from serving.tuning.rows import Row, demonstrations, read

QUESTIONS = Path(__file__).with_name("questions.txt")
ANSWER_TOKENS = 48
AT_ONCE = 8


class Retained:
    """Batches of other questions with the base's own answers, and the divergence on them."""

    def __init__(self, rows: Sequence[Row], collator: Collator, plan: Plan) -> None:
        self._rows = rows
        self._collator = collator
        self._plan = plan

    def loss(self, model: Any, step: int) -> torch.Tensor:
        """Returns the divergence of a model with an adapter from its base, on the rows of a step."""
        batch = self._batch(step)
        with torch.no_grad(), model.disable_adapter():
            wanted = logits(model, batch)
        return kl(logits(model, batch), wanted, counted(batch))

    def _batch(self, step: int) -> Batch:
        """Returns the same rows for the same step, also after an interruption."""
        chosen = random.Random(f"{self._plan.seed}/{step}")  # noqa: S311
        return self._collator(chosen.sample(self._rows, min(self._plan.retain_batch, len(self._rows))))


def prepare(plan: Plan, model: Any, tokenizer: Any, progress: EventLog) -> Retained | None:
    """Returns the retention of a plan; None if it is off."""
    if not plan.retain_weight:
        return None
    rows = demonstrations(read(plan.retain)) or _own(plan, model, tokenizer, progress)
    return Retained(rows, Collator(tokenizer, plan.max_tokens), plan)


def _own(plan: Plan, model: Any, tokenizer: Any, progress: EventLog) -> list[Row]:
    """Returns the built-in questions with the base's answers, which are kept beside the bases."""
    questions = QUESTIONS.read_bytes()
    kept = Path(plan.bases) / f"{plan.base.digest}.answers-{hashlib.sha256(questions).hexdigest()[:16]}.json"
    if kept.exists():
        found: list[Row] = json.loads(kept.read_bytes())
        return found
    progress.say("stage", stage="answers of the base")
    rows = answers(model, tokenizer, questions.decode().splitlines())
    partial = kept.with_name(f".{kept.name}.{os.getpid()}")
    partial.write_text(json.dumps(rows), encoding="utf-8")
    partial.rename(kept)
    return rows


def answers(model: Any, tokenizer: Any, questions: Sequence[str], tokens: int = ANSWER_TOKENS) -> list[Row]:
    """Returns the questions with the model's most probable answers."""
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    rows: list[Row] = []
    for at in range(0, len(questions), AT_ONCE):
        prompts = [[{"role": "user", "content": question}] for question in questions[at : at + AT_ONCE]]
        asked = tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", padding=True
        )
        written = model.generate(**asked, max_new_tokens=tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)[
            :, asked["input_ids"].shape[1] :
        ]
        for prompt, text in zip(prompts, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True):
            if text.strip():
                rows.append({"prompt": prompt, "completion": [{"role": "assistant", "content": text}]})
    tokenizer.padding_side = side
    return rows
