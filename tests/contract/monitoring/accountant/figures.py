"""What each panel must show of a round of the script, by dashboard, panel and legend."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping

import serving.telemetry.catalogue as c
from serving.telemetry.catalogue import AnswerLength
from tests.contract.monitoring.accountant.client import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tests.contract.monitoring.accountant.ledger import Entry, Labels, Ledger
from tests.contract.monitoring.accountant.stack import AWAY, HOSTED, LARGE, OBJECTIVES, RELEASED, SHARE, SMALL
from tests.contract.monitoring.accountant.truth import Book, Truth, Within, distribution, quantiles, rates, shares

Figure = Callable[[Book], Truth]
ASKING = (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)
"""Routes whose requests ask a model."""
HOUR_S = 3600


def outcome(entry: Entry) -> str:
    return entry.outcome


def model(entry: Entry) -> str:
    return entry.served


def asked_model(entry: Entry) -> str | None:
    return entry.served if entry.asks_model else None


def priced_model(entry: Entry) -> str | None:
    return entry.price_model or None


def currency(entry: Entry) -> str | None:
    return entry.currency or None


def tenant(entry: Entry) -> str | None:
    return entry.tenant


def assistant(entry: Entry) -> str | None:
    return entry.assistant


def route(entry: Entry) -> str:
    return entry.route


def code(entry: Entry) -> str | None:
    return entry.code or None


def cause(entry: Entry) -> str:
    """Why a model's endpoint failed: nobody listens for one model and one replica, and others say so."""
    return "unreachable" if entry.served == AWAY or entry.retries else "error"


def failures(entry: Entry) -> int:
    """How often a model's endpoint failed."""
    return entry.retries + entry.code.startswith("engine_")


def alias(entry: Entry) -> str:
    """The alias whose release answers."""
    return RELEASED


def released(ledger: Ledger) -> Ledger:
    return ledger.where(asked=RELEASED)


def retries(entry: Entry) -> int:
    return entry.retries


def cost(entry: Entry) -> object:
    return entry.cost


def read(entry: Entry) -> int:
    return entry.read


def written(entry: Entry) -> int:
    return entry.written


def length(entry: Entry) -> AnswerLength:
    """The class of an answer by its tokens, as the documentation says it."""
    return "short" if entry.written <= 100 else "medium" if entry.written <= 1000 else "long"


def of_models(book: Book) -> Ledger:
    """The requests to models and assistants."""
    return book.ledger.that(lambda entry: entry.asks_model)


def asking(book: Book) -> Ledger:
    """The requests to routes that ask a model, whatever they name."""
    return book.ledger.that(lambda entry: entry.route in ASKING)


def generated(book: Book) -> Ledger:
    """The answers that a model generated."""
    return book.ledger.that(
        lambda entry: entry.route in (CHAT, COMPLETIONS, RESPONSES) and entry.outcome == "ok" and entry.asks_model
    )


def complete(book: Book) -> Ledger:
    """The answers that a model completed: an embedding is none, and a repeated answer was counted before."""
    return book.ledger.that(lambda entry: entry.captured in ("completed", "length") and entry.route != EMBEDDINGS)


def late(book: Book) -> Ledger:
    """The answers that took longer than their model's objective allows."""
    return generated(book).that(
        lambda entry: book.log[entry.id]["seconds"] > OBJECTIVES[entry.served].end_to_end_s_of(length(entry))
    )


def streams(book: Book) -> Ledger:
    return book.ledger.where(streamed=True)


def tokens_seen(book: Book) -> Ledger:
    """Streams whose first token the gateway relayed."""
    return book.ledger.that(lambda entry: entry.first_token_s is not None)


def durations(
    book: Book, chosen: Iterable[Entry], of: Callable[[Entry], Labels] = lambda entry: ()
) -> Iterable[tuple[Labels, Within]]:
    """The seconds of requests by the log, which the accountant compares with the callers' clocks."""
    for entry in chosen:
        seconds = book.log[entry.id]["seconds"]
        yield of(entry), Within(seconds, seconds + 1e-6)


def overheads(book: Book) -> Iterable[tuple[Labels, Within]]:
    for entry in book.ledger:
        seconds = book.log[entry.id]["overhead_seconds"]
        yield (("route", entry.route),), Within(seconds, seconds + 1e-6)


def first_tokens(book: Book, *, by_model: bool) -> Iterable[tuple[Labels, Within]]:
    for entry in tokens_seen(book):
        assert entry.first_token_s is not None
        yield ((("model", entry.served),) if by_model else ()), Within(*entry.first_token_s)


def between_tokens(book: Book) -> Iterable[tuple[Labels, Within]]:
    """At most the time of the stream, since all of its tokens came in it."""
    for entry in tokens_seen(book):
        whole = entry.ended_at - entry.sent_at
        yield (("model", entry.served),), Within(0, whole)


def stages(book: Book) -> Truth:
    """The mean over all requests that ask, with the rounding of each line."""
    lines = [book.log[entry.id]["stages"] for entry in asking(book)]
    names = {name for line in lines for name in line}
    sums = {name: sum(line.get(name, 0) for line in lines) / len(lines) for name in names}
    return {(("stage", name),): Within(value, value + 1e-6) for name, value in sums.items()}


def disk(book: Book) -> Truth:
    usage = shutil.disk_usage(book.folder)
    share = usage.free / usage.total
    return {(("instance", book.instance),): Within(0.95 * share, 1.05 * share)}


def database(book: Book) -> Truth:
    """A transaction is a part of a request, or of work in the background: no more is known of it."""
    return {(("operation", name),): Within(0, book.span_s) for name in ("read", "write")}


def lags(book: Book) -> Truth:
    """How late a loop is on a busy host nobody knows: not later than the round is long, and of gateways alone."""
    return {(("deployment", "gateway"),): Within(0, book.span_s)}


def nothing(book: Book) -> Truth:
    """What the script does not make happen: the figure is zero, or has no series."""
    return {}


def _q(q: float, metric: c.Metric, of: Callable[[Book], Iterable[tuple[Labels, Within]]]) -> Figure:
    return lambda book: quantiles(q, metric.buckets, of(book))


def _named(entry: Entry) -> Labels:
    return (("model", entry.served),)


OVERVIEW: Mapping[str, Figure] = {
    "Requests: requests": lambda b: rates(b, of_models(b)),
    "Failed: failed": lambda b: shares(of_models(b).where(outcome="error"), of_models(b)),
    "Request time, p95: p95": _q(0.95, c.REQUEST_SECONDS, lambda b: durations(b, of_models(b))),
    "Time to first token, p95: p95": _q(0.95, c.TTFT_SECONDS, lambda b: first_tokens(b, by_model=False)),
    "Waiting: waiting": nothing,
    "Requests by outcome: {{outcome}}": lambda b: rates(b, b.ledger, outcome=outcome),
    "Errors of the stack by code: {{code}}": lambda b: rates(b, b.ledger.where(outcome="error"), code=code),
    "Rejected requests by code: {{code}}": lambda b: rates(b, b.ledger.where(outcome="refused"), code=code),
    **{
        f"Request time: p{q * 100:g}": _q(q, c.REQUEST_SECONDS, lambda b: durations(b, of_models(b)))
        for q in (0.5, 0.95, 0.99)
    },
    "Requests by route: {{route}}": lambda b: rates(b, b.ledger, route=route),
    "In flight and waiting: in flight": nothing,
    "In flight and waiting: waiting": nothing,
    "Streams by outcome: {{outcome}}": lambda b: rates(b, streams(b), outcome=outcome),
    "Streams resumed: {{outcome}}": nothing,
    "Time of a request by stage: {{stage}}": stages,
    "Overhead by route: {{route}}": _q(0.95, c.OVERHEAD_SECONDS, overheads),
    "Event loops: {{deployment}}": lags,
    "Database time: {{operation}}": database,
    "Database errors: errors": nothing,
    "Lost spans: lost": nothing,
    "Disk free: {{instance}}": disk,
    "Jobs waiting: {{kind}}": nothing,
    "Oldest job: {{kind}}": nothing,
    "Batch lines waiting: lines": nothing,
    "Batch lines answered: {{outcome}}": nothing,
    "Oldest batch: batch": nothing,
}
MODELS: Mapping[str, Figure] = {
    **{
        f"{panel}: {{{{model}}}} p{q * 100:g}": _q(q, metric, of)
        for q in (0.5, 0.95)
        for panel, metric, of in (
            ("Time to first token", c.TTFT_SECONDS, lambda b: first_tokens(b, by_model=True)),
            ("Time between tokens", c.INTER_TOKEN_SECONDS, between_tokens),
        )
    },
    "Request time, p95: {{model}}": _q(0.95, c.REQUEST_SECONDS, lambda b: durations(b, of_models(b), _named)),
    "Distribution of the time to first token: {{le}}": lambda b: distribution(
        b, c.TTFT_SECONDS.buckets, (time for _, time in first_tokens(b, by_model=False))
    ),
    "Distribution of the end-to-end time: {{le}}": lambda b: distribution(
        b, c.REQUEST_SECONDS.buckets, (time for _, time in durations(b, generated(b)))
    ),
    "Tokens read: {{model}}": lambda b: rates(b, b.ledger, read, model=asked_model),
    "Tokens written: {{model}}": lambda b: rates(b, b.ledger, written, model=asked_model),
    "Failed requests: {{model}}": lambda b: shares(of_models(b).where(outcome="error"), of_models(b), model=model),
    "Engine errors: {{code}}": lambda b: rates(
        b, b.ledger.that(lambda entry: entry.code.startswith("engine_")), code=code
    ),
    "Endpoint failures by cause: {{model}} {{cause}}": lambda b: rates(b, b.ledger, failures, model=model, cause=cause),
    "Broken streams: {{model}}": lambda b: shares(streams(b).where(outcome="error"), streams(b), model=model),
    "Replicas: {{model}} expected": lambda b: {(("model", HOSTED),): 1.0},
    "Requests moved to another replica: {{model}}": lambda b: rates(b, b.ledger, retries, model=model),
    "Truncated answers: {{model}}": lambda b: shares(b.ledger.where(captured="length"), complete(b), model=model),
    "Late answers: {{model}}": lambda b: shares(late(b), generated(b), model=model),
    "Unsupported sentences: {{model}}": nothing,
    "Resumable stream buffers: kept": nothing,
}
ASSISTANTS: Mapping[str, Figure] = {
    "Searches without results: {{assistant}}": nothing,
    "Requests by assistant: {{assistant}}": lambda b: rates(b, b.ledger, assistant=assistant),
    "Requests by outcome: {{assistant}} {{outcome}}": lambda b: rates(
        b, b.ledger, assistant=assistant, outcome=outcome
    ),
    "Cost per hour: {{assistant}} {{currency}}": lambda b: rates(
        b, b.ledger, cost, times=HOUR_S, assistant=assistant, currency=currency
    ),
    "Unsupported sentences: {{model}}": nothing,
    "Oldest job: {{kind}}": nothing,
    "Failed jobs: {{kind}}": nothing,
    "Strategy steps: {{strategy}} {{kind}}": nothing,
    "Tool calls: {{tool}} {{outcome}}": nothing,
    "Sandbox runs: {{outcome}}": nothing,
    "Facts dropped by memory: dropped": nothing,
    "Guardrail findings: {{check}} {{action}}": nothing,
    "Personal data found: {{on}}": nothing,
}


def rated(book: Book) -> Ledger:
    return book.ledger.that(lambda entry: entry.rated is not None)


def thumb(entry: Entry) -> str | None:
    return entry.rated[1] if entry.rated else None


def target(entry: Entry) -> str | None:
    return entry.rated[0] if entry.rated else None


def storing(book: Book) -> Truth:
    """Within the time of its request, which is at most so long."""
    times = [
        ((("outcome", entry.outcome),), Within(0, entry.ended_at - entry.sent_at))
        for entry in book.ledger.where(route="/v1/feedback")
    ]
    return quantiles(0.95, c.FEEDBACK_SECONDS.buckets, times)


def of_sides(book: Book, bad: Callable[[Entry], bool], seen: Callable[[Entry], bool]) -> Truth:
    """Since the release began: the share of the bad in those that were seen of canary and base."""
    both = released(book.everything).that(seen)
    return shares(both.that(bad), both, alias=alias, model=model)


def _sides(book: Book) -> Iterable[tuple[Labels, Within]]:
    for entry in released(tokens_seen(book)):
        assert entry.first_token_s is not None
        yield (("alias", RELEASED), ("model", entry.served)), Within(*entry.first_token_s)


FEEDBACK: Mapping[str, Figure] = {
    "Share of thumbs up: up": lambda b: shares(rated(b).that(lambda e: thumb(e) == "up"), rated(b)),
    "Ratings: {{rating}}": lambda b: rates(b, rated(b), rating=thumb),
    "Ratings by target: {{kind}}": lambda b: rates(b, rated(b), kind=target),
    "Share of answers rated: rated": lambda b: {(): len(rated(b)) / len(generated(b))},
    "Time to store a rating: {{outcome}}": storing,
    "Ratings not stored: {{outcome}}": lambda b: rates(
        b, b.ledger.that(lambda e: e.route == "/v1/feedback" and e.outcome != "ok"), outcome=outcome
    ),
    "Unsupported sentences per answer: {{model}}": nothing,
    "Searches without results: empty": nothing,
    "Answers cut off: {{model}}": lambda b: shares(of_models(b).where(outcome="cancelled"), of_models(b), model=model),
    "Shares of managed aliases: {{alias}} {{model}}": lambda b: {
        (("alias", RELEASED), ("model", name)): share for name, share in ((SMALL, 1 - SHARE), (LARGE, SHARE))
    },
    # It depends on the order of the outcomes; a release that goes on has less than what ends it.
    "Evidence against canaries: {{alias}}": lambda b: {(("alias", RELEASED),): Within(0, 100)},
    **{
        f"{panel}: {{{{alias}}}} {{{{model}}}}": figure
        for panel, figure in (
            ("Time to first token, p95", _q(0.95, c.RELEASE_TTFT_SECONDS, lambda b: _sides(b))),
            ("Failed answers", lambda b: of_sides(b, lambda e: e.outcome == "error", lambda e: True)),
            ("Truncated answers", lambda b: of_sides(b, lambda e: e.captured == "length", lambda e: True)),
            ("Bad ratings", lambda b: of_sides(b, lambda e: e.got == "down", lambda e: bool(e.got))),
        )
    },
    "Ended releases: {{alias}} {{outcome}} {{reason}}": nothing,
    "Finished jobs: {{kind}} {{outcome}}": nothing,
}
RAY: Mapping[str, Figure] = {
    f"Scrape targets up: {{{{job}}}} {what}": lambda b: {(("job", "headrace"),): 1.0} for what in ("up", "known")
}
