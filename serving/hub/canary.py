"""A canary's outcomes beside those of its base, and what they decide."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from serving.config import Guard
from serving.hub.evaluation.sequential import ACT, MARGIN, Pairs, harm, mean, no_worse

Kind = Literal["requests", "ratings"]
"""Answers and their ratings, which arrive at other times: each kind is paired and tested by itself."""

KINDS: tuple[Kind, ...] = get_args(Kind)

GUARDS_OF: Mapping[Kind, tuple[Guard, ...]] = {
    "requests": tuple(guard for guard in get_args(Guard) if guard != "ratings"),
    "ratings": ("ratings",),
}
"""The guards that look at outcomes of a kind."""

Verdict = Literal["harmful", "no_worse", "undecided"]

MAX_WAITING = 100
"""Maximum number of outcomes that wait for one of the other side; more of them are not paired."""


@dataclass(frozen=True, slots=True)
class CanaryOutcome:
    """One answer or rating of the canary, or else of its base; `bad` names the guard that finds it bad."""

    kind: Kind
    canary: bool
    bad: Guard | None
    at: float


@dataclass(frozen=True, slots=True)
class Side:
    """The outcomes of the canary or the base: their number, the bad ones by guard, and those that wait for a pair."""

    seen: int = 0
    bad: Mapping[str, int] = field(default_factory=dict)
    waiting: tuple[bool, ...] = ()

    def plus(self, bad: Guard | None) -> Side:
        """Returns the counts with another outcome, which is not waiting."""
        counts = {**self.bad, bad: self.bad.get(bad, 0) + 1} if bad is not None else self.bad
        return replace(self, seen=self.seen + 1, bad=counts)


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcomes of one kind."""

    pairs: Pairs = field(default_factory=Pairs)
    canary: Side = Side()
    base: Side = Side()

    def plus(self, outcome: CanaryOutcome) -> Tally:
        """Returns the counts with another outcome, paired with one of the other side from about the same time.

        Which outcomes are paired depends only on their order. A canary's is paired with the newest of the base, and
        older ones of the base are not used: the base has more.
        """
        bad = outcome.bad is not None
        if outcome.canary:
            canary, base = self.canary.plus(outcome.bad), self.base
            if base.waiting:
                pairs = self.pairs.plus(canary_bad=bad, base_bad=base.waiting[-1])
                return Tally(pairs, canary, replace(base, waiting=()))
            waiting = (*canary.waiting, bad)[-MAX_WAITING:]
            return Tally(self.pairs, replace(canary, waiting=waiting), base)
        canary, base = self.canary, self.base.plus(outcome.bad)
        if canary.waiting:
            pairs = self.pairs.plus(canary_bad=canary.waiting[0], base_bad=bad)
            return Tally(pairs, replace(canary, waiting=canary.waiting[1:]), base)
        return Tally(self.pairs, canary, replace(base, waiting=(bad,)))


Tallies = Mapping[Kind, Tally]


def begun(guards: Collection[Guard]) -> Tallies:
    """Returns the counts at the beginning, of the kinds that the guards look at.

    The kinds stay the same for a whole release: a mean over those with outcomes would not be an e-value.
    """
    return {kind: Tally() for kind in KINDS if set(GUARDS_OF[kind]) & set(guards)}


def counted(tallies: Tallies, outcomes: Iterable[CanaryOutcome]) -> Tallies:
    """Returns the counts with more outcomes, in the order of their times; those of other kinds are left out."""
    found = dict(tallies)
    for outcome in outcomes:
        if outcome.kind in found:
            found[outcome.kind] = found[outcome.kind].plus(outcome)
    return found


def evidence(tallies: Tallies) -> dict[str, float]:
    """Returns the evidence of harm, and of none, as e-values of all kinds of outcomes together."""
    pairs = [tally.pairs for tally in tallies.values()]
    together = Pairs(*(sum(getattr(each, name) for each in pairs) for name in ("canary", "base", "alike")))
    return {"harm": _finite(mean([harm(each) for each in pairs])), "no_worse": _finite(no_worse(together))}


def verdict(tallies: Tallies) -> Verdict:
    """Returns what the outcomes so far decide."""
    found = evidence(tallies)
    if found["harm"] >= ACT:
        return "harmful"
    # Many answers that are alike would outweigh a few ratings that are all bad.
    worse = any(each.pairs.canary - each.pairs.base > MARGIN * each.pairs.total for each in tallies.values())
    return "no_worse" if found["no_worse"] >= ACT and not worse else "undecided"


def document_of(tallies: Tallies) -> dict[str, Any]:
    """Returns the counts as JSON."""
    return {kind: asdict(tally) for kind, tally in tallies.items()}


def tallies_of(document: Mapping[str, Any]) -> Tallies:
    """Returns the counts from their JSON."""
    return {kind: _tally(document[kind]) for kind in KINDS if kind in document}


def _tally(document: Mapping[str, Any]) -> Tally:
    sides = {name: {**document[name], "waiting": tuple(document[name]["waiting"])} for name in ("canary", "base")}
    return Tally(Pairs(**document["pairs"]), Side(**sides["canary"]), Side(**sides["base"]))


def _finite(value: float) -> float:
    """Returns a number that JSON has."""
    return min(value, 1e12)
