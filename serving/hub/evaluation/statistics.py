"""Win rates with intervals, and the agreement of two raters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""Quantile of the normal distribution for an interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of `total` with its interval of 95 %; without observations it is unknown, from 0 to 1."""

    value: float | None
    low: float
    high: float
    total: int

    @property
    def document(self) -> dict[str, float | int | None]:
        """The rate as JSON, rounded to four places."""
        value = round(self.value, 4) if self.value is not None else None
        return {"value": value, "low": round(self.low, 4), "high": round(self.high, 4), "total": self.total}


def wilson(successes: float, total: int) -> Proportion:
    """Returns `successes` of `total` with Wilson's score interval. A tie is half a success.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927. Ties have a smaller
    variance than wins and losses, so with ties the interval is wider than necessary.
    """
    if not 0 <= successes <= total:
        raise ValueError("successes are from 0 to total")
    if total == 0:
        return Proportion(None, 0.0, 1.0, 0)
    rate = successes / total
    shrink = 1 + Z**2 / total
    middle = (rate + Z**2 / (2 * total)) / shrink
    half = Z / shrink * math.sqrt(rate * (1 - rate) / total + Z**2 / (4 * total**2))
    return Proportion(rate, max(0.0, middle - half), min(1.0, middle + half), total)


def win_rate(wins: int, ties: int, losses: int) -> Proportion:
    """Returns the win rate, in which a tie is half a win: a model compared with itself has 0.5."""
    return wilson(wins + ties / 2, wins + ties + losses)


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Returns Cohen's kappa of two raters' labels: 1 for full agreement, 0 for that of chance.

    None without pairs, and if both raters always give the same single label, when it is undefined. Source: Cohen,
    "A Coefficient of Agreement for Nominal Scales", 1960.
    """
    if not pairs:
        return None
    number = len(pairs)
    agreed = sum(one == other for one, other in pairs) / number
    of_one, of_other = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(of_one[label] * of_other[label] for label in of_one) / number**2
    if chance == 1:
        return None
    return (agreed - chance) / (1 - chance)
