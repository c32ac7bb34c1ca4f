"""What callers know of their requests, and whether the counters of all gateways together say the same."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.catalogue import OUTCOMES

USAGE = {
    "headrace_prompt_tokens_total": ("prompt_tokens", "input_tokens"),
    "headrace_completion_tokens_total": ("completion_tokens", "output_tokens"),
}
"""Fields in which completions and responses say what the counters add up."""
EXACT = 1e-9
"""Of a sum: what adding up binary fractions takes away."""
GENERATING = ("/v1/chat/completions", "/v1/responses")


@dataclass
class Tally:
    """By callers. An answer counts as soon as its last byte is there, whatever it says."""

    answered: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By route, tenant and outcome."""
    broken: Counter[str] = field(default_factory=Counter)
    """Answers that began and were cut short, by route."""
    silent: Counter[str] = field(default_factory=Counter)
    """Requests of which nothing was heard, by route: they may never have arrived."""
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Tokens by counter and tenant, of answers that say so."""
    cost: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """By tenant."""
    most: Counter[str] = field(default_factory=Counter)
    """The most that one answer used, by counter."""
    dearest: Decimal = Decimal(0)
    """The most that one answer cost."""

    def book(self, route: str, tenant: str, status: int, data: bytes, *, whole: bool) -> None:
        """Adds a request; `status` is 0 when there was none."""
        if not whole:
            (self.broken if status else self.silent)[route] += 1
            return
        documents = list(_documents(data))
        self.answered[route, tenant, _outcome(status, documents)] += 1
        said = [document.get("response", document) for document in documents]
        for counter, fields in USAGE.items():
            counts = [(s.get("usage") or {}).get(name, 0) for s in said for name in fields]
            self.used[counter, tenant] += max(counts, default=0)
            self.most[counter] = max(self.most[counter], *counts, 0)
        cost = max((Decimal(amount) for s in said for amount in _amounts(s)), default=Decimal(0))
        self.cost[tenant] += cost
        self.dearest = max(self.dearest, cost)


class Counters:
    """What an exporter answered."""

    def __init__(self, text: str) -> None:
        self._samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Returns the sum of the series that have these labels."""
        chosen = (s for s in self._samples if s.name == name and labels.items() <= s.labels.items())
        return math.fsum(s.value for s in chosen)

    def under_way(self) -> float:
        """Returns the requests that began and have not ended."""
        return self.sum("headrace_requests_started_total") - self.sum("headrace_request_duration_seconds_count")


def miscounted(tally: Tally, counters: Counters, *, kills: int = 0, clients: int = 0) -> list[str]:
    """Returns where counters and callers disagree, each in a line.

    A gateway counts a request when its last byte has left, before anything else is done. So without kills all is
    equal; each kill of a gateway can leave one answer uncounted, and cuts what `clients` asked it.
    """
    return [
        *_started(tally, counters, kills, clients),
        *_finished(tally, counters, kills),
        *_used(tally, counters),
        *(_stages(tally, counters) if not kills else ()),
    ]


def _started(tally: Tally, counters: Counters, kills: int, clients: int) -> Iterator[str]:
    answered = Counter[str]()
    for (route, _, _), count in tally.answered.items():
        answered[route] += count
    for route in {*answered, *tally.broken, *tally.silent}:
        least = answered[route] + tally.broken[route]
        began = counters.sum("headrace_requests_started_total", route=route)
        yield from _outside(f"{route}: started", began, least, least + tally.silent[route])
    # A caller that has its answer, which is not counted yet, may have asked again.
    yield from _outside("under way at kills", counters.under_way(), tally.broken.total(), kills * (clients + 1))


def _finished(tally: Tally, counters: Counters, kills: int) -> Iterator[str]:
    by_route, served = Counter[tuple[str, str]](), Counter[str]()
    for (route, tenant, outcome), count in tally.answered.items():
        by_route[route, outcome] += count
        if outcome == "ok":  # else the database may have been away, and nobody could say whose the key is
            served[tenant] += count
    missing = 0.0
    for route, outcome in product({route for route, _ in by_route}, OUTCOMES):
        count = by_route[route, outcome]
        counted = counters.sum("headrace_request_duration_seconds_count", route=route, outcome=outcome)
        missing += count - counted
        yield from _outside(f"{route}: {outcome}", counted, count - kills, count)
    yield from _outside("answers that are not counted", missing, 0, kills)
    for tenant, count in served.items():
        counted = counters.sum("headrace_tenant_requests_total", tenant=tenant, outcome="ok")
        yield from _outside(f"{tenant}: ok", counted, count - kills, count)


def _used(tally: Tally, counters: Counters) -> Iterator[str]:
    """An engine may have answered where its caller heard of something else, or of nothing."""
    unheard = sum(tally.broken[route] + tally.silent[route] for route in GENERATING)
    unheard += sum(n for (route, _, outcome), n in tally.answered.items() if route in GENERATING and outcome != "ok")
    for (counter, tenant), told in tally.used.items():
        most = told + unheard * tally.most[counter]
        yield from _outside(f"{tenant}: {counter}", counters.sum(counter, tenant=tenant), told, most)
    for tenant, amount in tally.cost.items():
        counted = counters.sum("headrace_tenant_cost_total", tenant=tenant)
        most = float(amount + unheard * tally.dearest)
        yield from _outside(f"{tenant}: cost", counted, float(amount) * (1 - EXACT), most * (1 + EXACT))


def _stages(tally: Tally, counters: Counters) -> Iterator[str]:
    for route in {route for route, _, _ in tally.answered}:
        whole = counters.sum("headrace_request_duration_seconds_sum", route=route)
        stages = counters.sum("headrace_stage_duration_seconds_sum", route=route)
        if not math.isclose(stages, whole, rel_tol=EXACT):
            yield f"{route}: its stages took {stages} s, and the requests {whole} s"


def _outside(what: str, counted: float, least: float, most: float) -> Iterator[str]:
    if not least <= counted <= most:
        yield f"{what}: {counted:.12g} are counted, and callers know of {least:.12g} to {most:.12g}"


def _outcome(status: int, documents: list[dict[str, Any]]) -> str:
    if status >= 500 or (status == 200 and any(_failed(document) for document in documents)):
        return "error"
    return "refused" if status >= 400 else "ok"


def _failed(document: dict[str, Any]) -> bool:
    return bool(document.get("error")) or document.get("type") in ("error", "response.failed")


def _documents(data: bytes) -> Iterator[dict[str, Any]]:
    if not data.startswith((b"data: ", b"event: ")):
        yield json.loads(data)
        return
    for line in data.split(b"\n"):
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            yield json.loads(line[6:])


def _amounts(document: dict[str, Any]) -> Iterator[str]:
    """A completion says what it cost beside its first choice, a response beside all of its output."""
    choices = document.get("choices") or []
    for place in (document, *(choice.get("message") or choice.get("delta") or {} for choice in choices)):
        if cost := (place.get("headrace") or {}).get("cost"):
            yield cost["amount"]
