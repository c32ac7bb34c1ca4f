"""The card of an evaluation: what a candidate scored, beside the model that it is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from serving.hub.evaluation.answers import Answer
from serving.hub.evaluation.gate import Compared, Measured, decide
from serving.hub.evaluation.scoring import Score
from serving.hub.evaluation.statistics import Proportion, wilson, win_rate
from serving.hub.evaluation.suite import digest_of
from serving.protocol.suites import ChecksJudge, Group, Suite


def card(
    suite: Suite,
    scores: Sequence[Score],
    candidate: str,
    against: str | None,
    *,
    agreement: float | None = None,
    shared: Sequence[int] = (),
) -> dict[str, Any]:
    """Returns the card as JSON. `agreement` is the judge's with people, `shared` the prompts in the training data.

    Shares have intervals of 95 %. Without a model to compare with there is no win rate, and no decision of the gate.
    """
    mine = [each.candidate for each in scores]
    other = [each.against for each in scores if each.against is not None]
    sides = {"candidate": mine, "against": other if against is not None else None}
    measured = _measured(suite, scores)
    judge = {
        "kind": suite.judge.kind,
        "model": None if isinstance(suite.judge, ChecksJudge) else suite.judge.model,
        "kappa": round(agreement, 4) if agreement is not None else None,
        "rated": len(suite.rated),
    }
    preferences = [each.preferred for each in scores if each.preferred is not None]
    wins, ties, losses = (preferences.count(each) for each in ("first", "tie", "second"))
    return {
        "suite": {"name": suite.name, "digest": digest_of(suite), "prompts": len(suite.prompts)},
        "candidate": candidate,
        "against": against,
        "judge": judge,
        "win_rate": measured.wins.document | {"wins": wins, "ties": ties, "losses": losses} if against else None,
        **{name: _pair(compared, against) for name, compared in measured.shares.items()},
        "length": {side: _mean(len(a.text) for a in _without_errors(answers)) for side, answers in sides.items()},
        "seconds": {side: _quantiles([a.seconds for a in _without_errors(answers)]) for side, answers in sides.items()},
        "first_token_s": {
            side: _quantiles([a.first_token_s for a in _without_errors(answers)]) for side, answers in sides.items()
        },
        "tokens_per_second": {side: _speed(_without_errors(answers)) for side, answers in sides.items()},
        "shared_prompts": [suite.prompts[number].id for number in shared],
        "gate": decide(measured, suite.bounds, len(shared)).document if against is not None else None,
    }


def _measured(suite: Suite, scores: Sequence[Score]) -> Measured:
    preferences = [each.preferred for each in scores if each.preferred is not None]
    wins = win_rate(*(preferences.count(each) for each in ("first", "tie", "second")))

    def compared(name: Callable[[Answer], bool]) -> Compared:
        return Compared(
            _share([name(each.candidate) for each in scores]),
            _share([name(each.against) for each in scores if each.against is not None]),
        )

    def passing(group: Group) -> Compared:
        of = [each for each in scores if suite.prompts[each.number].group == group]
        return Compared(_share([s.candidate_passes for s in of]), _share([s.against_passes for s in of]))

    return Measured(
        wins,
        {
            "correct": passing("task"),
            "off_task": passing("off_task"),
            "errors": compared(lambda answer: answer.failed),
            "truncated": compared(lambda answer: answer.truncated),
            "filtered": compared(lambda answer: answer.filtered),
        },
        (
            _mean(len(each.candidate.text) for each in scores if each.candidate.error is None),
            _mean(len(each.against.text) for each in scores if each.against and each.against.error is None),
        ),
    )


def _share(found: Iterable[bool | None]) -> Proportion:
    known = [each for each in found if each is not None]
    return wilson(sum(known), len(known))


def _pair(compared: Compared, against: str | None) -> dict[str, Any]:
    return {
        "candidate": compared.candidate.document,
        "against": compared.against.document if against is not None else None,
    }


def _without_errors(answers: Sequence[Answer] | None) -> list[Answer]:
    return [answer for answer in answers or () if answer.error is None]


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return round(math.fsum(known) / len(known), 2) if known else None


def _quantiles(values: Iterable[float | None]) -> dict[str, float] | None:
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return {
        name: round(known[min(len(known) - 1, int(q * len(known)))], 4) for name, q in (("p50", 0.5), ("p95", 0.95))
    }


def _speed(answers: Iterable[Answer]) -> float | None:
    """Returns the tokens of all answers per second of waiting for them."""
    timed = [(a.tokens, a.seconds) for a in answers if a.tokens is not None and a.seconds]
    seconds = math.fsum(taken for _, taken in timed)
    return round(sum(tokens for tokens, _ in timed) / seconds, 2) if seconds else None
