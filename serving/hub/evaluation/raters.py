"""Leave one rater out: how the agreement of ratings changes without each rater, for the cards of versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.exports.manifest import Rater, Raters
from serving.hub.evaluation.statistics import wilson

MIN_ROWS = 5
"""Rows that a rater must have given: fewer change little."""

MIN_PAIRS = 5
"""Comparisons with others, and of the others with each other, without which nothing is said."""

LIMIT = 0.3
"""By how much a rater's agreement must be below that of all others with each other for the rater to be named."""

MAX_SHOWN = 50
"""Maximum number of raters on a card: those without whom the agreement rises most."""


def influence(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what a data set's manifest says about its raters, as JSON; None for rows that nobody rated.

    A rater is named if the agreement with the others is lower than that of the others with each other by `LIMIT`, and
    if Wilson's intervals of both do not overlap.
    """
    given = manifest.get("raters")
    if given is None:
        return None
    raters = Raters.model_validate(given)
    rows = sum(each.rows for each in raters.raters)
    found = sorted(
        (_rater_card(each, raters, rows) for each in raters.raters if each.rows >= MIN_ROWS),
        key=lambda one: (-(one["change"] or 0), -one["rows"], one["rater"]),
    )
    named = [one["rater"] for one in found if one["named"]]
    return {
        "people": raters.people,
        "agreement": _share(raters.agreed, raters.pairs),
        "pairs": raters.pairs,
        "limit": LIMIT,
        "raters": found[:MAX_SHOWN],
        "warnings": [_warning(one) for one in found if one["rater"] in named],
    }


def _rater_card(rater: Rater, all_: Raters, rows: int) -> dict[str, Any]:
    pairs = all_.pairs - rater.pairs
    without = all_.agreed - rater.agreed
    known = rater.pairs >= MIN_PAIRS and pairs >= MIN_PAIRS
    mine, others = _share(rater.agreed, rater.pairs), _share(without, pairs)
    named = False
    if known and mine is not None and others is not None:
        apart = wilson(min(rater.agreed, rater.pairs), rater.pairs).high < wilson(min(without, pairs), pairs).low
        named = apart and others - mine >= LIMIT
    whole = _share(all_.agreed, all_.pairs)
    return {
        "rater": rater.rater,
        "rows": rater.rows,
        "share": round(rater.rows / rows, 4) if rows else 0.0,
        "pairs": rater.pairs,
        "agreement": mine,
        "without": others,
        "change": round(others - whole, 4) if known and others is not None and whole is not None else None,
        "named": named,
        "ratings": list(rater.contradicted),
    }


def _share(agreed: float, pairs: int) -> float | None:
    return round(max(0.0, min(1.0, agreed / pairs)), 4) if pairs else None


def _warning(rater: Mapping[str, Any]) -> str:
    return (
        f"The rater {rater['rater']} gave {rater['rows']} rows and agrees with the others in {rater['agreement']:.2f}; "
        f"they agree with each other in {rater['without']:.2f}. Look at the ratings before this version is released."
    )
