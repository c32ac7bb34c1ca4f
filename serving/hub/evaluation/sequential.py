"""Always-valid tests of a canary against its base: they may be looked at after every request.

Each outcome of the canary is paired with one of the base from the same time. An e-value is evidence against a
hypothesis, whose probability of ever reaching 1/a is at most a if the hypothesis is true (Ville's inequality), however
often one looks. Source: Ramdas, Grünwald, Vovk, Shafer, "Game-Theoretic Statistics and Safe Anytime-Valid Inference",
2023, https://arxiv.org/abs/2210.01948.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ACT = 100.0
"""Evidence that decides: wrong decisions have a probability of at most 1 %."""

MARGIN = 0.05
"""By how much a canary's share of bad outcomes may exceed its base's to count as no worse."""

_STAKES = tuple(n / 20 for n in range(1, 20))
"""Shares of the stake in the bets of `no_worse`; their mean is an e-value too."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Counts of pairs by their outcomes: only the canary's is bad, only the base's, or both or neither."""

    canary: int = 0
    base: int = 0
    alike: int = 0

    @property
    def total(self) -> int:
        """The number of pairs."""
        return self.canary + self.base + self.alike

    def plus(self, *, canary_bad: bool, base_bad: bool) -> Pairs:
        """Returns the counts with another pair."""
        if canary_bad == base_bad:
            return Pairs(self.canary, self.base, self.alike + 1)
        return Pairs(self.canary + canary_bad, self.base + base_bad, self.alike)


def harm(pairs: Pairs) -> float:
    """Returns the evidence that the canary is worse than its base, as an e-value.

    Of the pairs in which only one outcome is bad, it is the canary's with probability 1/2 if both are equally good. The
    e-value is the likelihood ratio of a uniform mixture over all p in (1/2, 1) against 1/2, in closed form: the sum of
    the binomial coefficients (n+1, j) for j from 0 to k, divided by (n+1) (n, k), for k of n pairs.
    """
    k, n = pairs.canary, pairs.canary + pairs.base
    term = (n + 1) / (n + 1 - k)  # (n+1, k) / (n, k)
    total = term
    for j in range(k, 0, -1):
        term *= j / (n + 2 - j)
        total += term
        if term < total * 1e-17:
            break
    return total / (n + 1)  # infinite beyond a double's range


def no_worse(pairs: Pairs, margin: float = MARGIN) -> float:
    """Returns the evidence that the canary's share of bad outcomes exceeds its base's by less than `margin`.

    A bet on each pair's difference D (1, 0 or -1) multiplies the stake by 1 + l (margin - D), which is not expected to
    grow if the mean of D is at least `margin`; the e-value is the mean over several l.
    """
    grown = (
        pairs.alike * math.log1p(share * margin)
        + pairs.canary * math.log1p(share * (margin - 1))
        + pairs.base * math.log1p(share * (margin + 1))
        for share in (stake / (1 - margin) for stake in _STAKES)
    )
    return mean([math.exp(min(each, 700.0)) for each in grown])


def mean(evidence: Sequence[float]) -> float:
    """Returns the evidence of several tests of one hypothesis together: the mean of e-values is an e-value."""
    return sum(evidence) / len(evidence)
