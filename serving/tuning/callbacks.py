"""What a job does beside each step: reports, whole checkpoints, and an end for bad numbers and for SIGTERM."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from serving.tuning.interruption import Interruption
from serving.tuning.plan import WHOLE, RecipeFailed
from serving.tuning.progress import EventLog


def newest(checkpoints: Path) -> Path | None:
    """Returns the newest checkpoint that was written completely."""
    whole = [mark.parent for mark in checkpoints.glob(f"checkpoint-*/{WHOLE}")]
    return max(whole, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


class Reporting(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Reports steps and checkpoints, and ends the training when it must not go on."""

    def __init__(self, progress: EventLog, interruption: Interruption) -> None:
        self._progress = progress
        self._interruption = interruption

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Reports a step. Raises `RecipeFailed` when its loss or its gradient is not a number."""
        logs = logs or {}
        if "loss" not in logs:
            return
        for name in ("loss", "grad_norm"):
            if not math.isfinite(float(logs.get(name, 0.0))):
                message = f"the {name.replace('grad_norm', 'gradient')} of step {state.global_step} is not a number"
                raise RecipeFailed("not_finite", f"{message}: lower the learning rate, or look at the rows")
        more = {name: round(float(logs[name]), 6) for name in ("retain_loss", "grad_norm") if name in logs}
        self._progress.say(
            "step",
            step=state.global_step,
            of=state.max_steps,
            loss=round(float(logs["loss"]), 6),
            learning_rate=float(logs["learning_rate"]),
            **more,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Asks for a last checkpoint when the job must end."""
        if self._interruption.asked:
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Marks a checkpoint as complete, once its files are on the disk."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for file in folder.iterdir():
            with file.open("rb") as content:
                os.fsync(content.fileno())
        with (folder / WHOLE).open("w", encoding="utf-8") as mark:
            json.dump({"step": state.global_step}, mark)
            mark.flush()
            os.fsync(mark.fileno())
        self._progress.say("checkpoint", step=state.global_step)
