"""The gate: whether a candidate may be released, by what an evaluation measured. All conditions must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from serving.hub.evaluation.statistics import Proportion
from serving.protocol.suites import GateBounds

GOOD = ("correct", "off_task")
"""Shares that must not fall; all others must not rise."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A share of the candidate's answers, and that of the answers of the model that it is compared with."""

    candidate: Proportion
    against: Proportion


@dataclass(frozen=True, slots=True)
class Measured:
    """What an evaluation measured: `lengths` are the mean lengths of both models' answers, in characters."""

    wins: Proportion
    shares: Mapping[str, Compared]
    lengths: tuple[float | None, float | None]


ReasonCode = Literal["win_rate", "worse", "off_task_missing", "length", "shared_prompts"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a candidate is refused."""

    code: ReasonCode
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's decision: without reasons the candidate passes."""

    reasons: tuple[Reason, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The decision as JSON."""
        reasons = [{"code": reason.code, "message": reason.message} for reason in self.reasons]
        return {"passed": not reasons, "reasons": reasons}


def decide(measured: Measured, bounds: GateBounds, shared_prompts: int) -> Decision:
    """Returns the gate's decision; `shared_prompts` is the number of prompts that the training data contains."""
    reasons: list[Reason] = []
    low = measured.wins.low
    if low <= bounds.min_win_rate:
        text = f"The lower bound of the win rate is {low:.3f}, which does not exceed {bounds.min_win_rate:g}."
        reasons.append(Reason("win_rate", text))
    for name, compared in measured.shares.items():
        mine, other = compared.candidate.value, compared.against.value
        if mine is None or other is None:
            continue
        worse = round(other - mine if name in GOOD else mine - other, 9)  # in doubles, 1 - 0.95 exceeds 0.05
        if worse > bounds.max_worse:
            text = f"{name} is {mine:.3f} against {other:.3f}: worse by more than {bounds.max_worse:g}."
            reasons.append(Reason("worse", text))
    if measured.shares["off_task"].candidate.value is None:
        text = "The suite has no prompts with checks in the group off_task, so nothing shows what was lost elsewhere."
        reasons.append(Reason("off_task_missing", text))
    mean, other_mean = measured.lengths
    if mean is not None and other_mean and mean > bounds.max_length_ratio * other_mean:
        text = f"Answers have {mean:.0f} characters on average against {other_mean:.0f}."
        reasons.append(Reason("length", text))
    if shared_prompts:
        text = f"The training data contains {shared_prompts} of the suite's prompts, or near-duplicates of them."
        reasons.append(Reason("shared_prompts", text))
    return Decision(tuple(reasons))
