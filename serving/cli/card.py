"""The card of an evaluation as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serving.cli.output import table

_SHARES = ("correct", "off_task", "errors", "truncated", "filtered")


def lines(card: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of a card."""
    rows = [[name, _rate(card[name]["candidate"]), _rate(card[name]["against"])] for name in _SHARES]
    rows += [
        [name, _number(card[name]["candidate"]), _number(card[name]["against"])]
        for name in ("length", "tokens_per_second")
    ]
    rows += [
        [f"{name} {which}", *(_number((card[name][side] or {}).get(which)) for side in ("candidate", "against"))]
        for name in ("seconds", "first_token_s")
        for which in ("p50", "p95")
    ]
    yield f"suite {card['suite']['name']} {card['suite']['digest'][:12]}, {card['suite']['prompts']} prompts"
    yield from table(rows, ["measure", str(card["candidate"]), str(card["against"] or "-")])
    if (won := card["win_rate"]) is not None:
        counts = f"{won['wins']} wins, {won['ties']} ties, {won['losses']} losses"
        yield f"win rate {_rate(won)} ({counts}, judge {card['judge']['kind']})"
    if (agreed := card["judge"]["kappa"]) is not None:
        yield f"the judge's agreement with people: kappa {agreed:.2f} of {card['judge']['rated']} pairs"
    if (gate := card["gate"]) is not None:
        yield "gate: passed" if gate["passed"] else "gate: refused"
        yield from (f"  {reason['message']}" for reason in gate["reasons"])


def version_lines(card: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of a version's card, which may lack each of its parts."""
    if not card:
        yield "nothing is known of this version yet"
    if "suite" in card:
        yield from lines(card)
    if (measured := card.get("measured")) is not None:
        yield "measured by its job:"
        yield from table([[name, _text(value)] for name, value in measured.items()], ["figure", "value"])
    if (raters := card.get("raters")) is not None:
        yield (
            f"{raters['people']} raters agree in {_number(raters['agreement'])} of {raters['pairs']} comparisons; "
            "without one of them:"
        )
        names = ("rater", "rows", "share", "agreement", "without", "change")
        rows = [
            [one["rater"], *(_number(one[name]) for name in names[1:]), "contradicts" if one["named"] else ""]
            for one in raters["raters"]
        ]
        yield from table(rows, [*names, ""])
        yield from (f"warning: {warning}" for warning in raters["warnings"])
    for override in card.get("gate_overrides", ()):
        yield f"released for {override['alias']} without the gate ({override['release']}): {override['reason']}"


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _rate(rate: Mapping[str, Any] | None) -> str:
    if rate is None or rate["value"] is None:
        return "-"
    return f"{rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
