"""One request on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serving.cli.output import cell, table

Facts = Mapping[str, Any]

WAITS_FOR = {
    "identify": "the check of its key",
    "receive": "its caller, who sends",
    "guard": "guardrails",
    "admit": "a place in the gateway",
    "retrieve": "the search of documents",
    "prompt": "Headrace",
    "queue": "a place at the model",
    "memory": "earlier turns",
    "reason": "a strategy, its model and its tools",
    "first_token": "the model's first token",
    "decode": "the model's further tokens, or its whole answer",
    "cite": "citations",
    "store": "the database",
    "respond": "Headrace",
    "send": "its caller, who reads",
}
"""What a request waits for in each stage."""


def lines(answer: Facts | None, line: Facts | None, trace_url: str | None = None) -> Iterator[str]:
    """Yields the lines of a sheet, from what the API knows of an answer, a line of the log, or both."""
    facts = [(name, value) for name, value in _facts(answer or {}, line or {}, trace_url) if value]
    width = max(len(name) for name, _ in facts)
    yield from (f"{name.ljust(width)}  {value}" for name, value in facts)
    stages = (line or {}).get("stages") or (answer or {}).get("stages") or {}
    if stages:
        whole = sum(stages.values()) or 1.0
        columns = ("stage", "seconds", "share", "waits_for")
        yield ""
        yield from table(
            [
                [cell("", name), f"{stages[name]:.6f}", f"{stages[name] / whole:.1%}", WAITS_FOR.get(name, "-")]
                for name in sorted(stages, key=_place)
            ],
            columns,
        )


def _place(stage: str) -> int:
    """Returns the place of a stage in a request; unknown ones are last."""
    return list(WAITS_FOR).index(stage) if stage in WAITS_FOR else len(WAITS_FOR)


def _facts(answer: Facts, line: Facts, trace_url: str | None) -> Iterator[tuple[str, str]]:
    """Yields what is known, by name; an empty text for what is unknown. The log knows the whole of it."""
    both = {**answer, **{name: value for name, value in line.items() if value is not None}}

    def fact(name: str, form: str = "{}") -> str:
        return form.format(cell(name, both[name])) if both.get(name) is not None else ""

    yield "answer", fact("id") or fact("answer_id")
    yield "request", fact("request_id")
    yield "at", fact("created_at") or _logged(line)
    yield "asked", _joined(fact("method"), fact("route"), _status(line), separator=" ")
    yield "caller", _joined(fact("tenant", "tenant {}"), fact("key", "key {}"))
    yield "route", _route(answer, line)
    yield "served by", _joined(fact("engine_replica", "engine replica {}"), fact("replica", "gateway replica {}"))
    yield "retries", fact("retries")
    yield "outcome", _joined(_outcome(answer, line), fact("finish_reason", "finish reason {}"), _code(answer, line))
    yield "stream", fact("stream")
    yield "tokens", _joined(fact("prompt_tokens", "{} read"), fact("completion_tokens", "{} written"))
    yield "cost", cell("cost", [both["cost"]]) if both.get("cost") else ""
    yield "work", _joined(fact("steps", "{} steps"), fact("passages", "{} passages")) if answer else ""
    yield "seconds", _joined(_seconds(both, "seconds"), _seconds(both, "overhead_seconds", " in Headrace itself"))
    yield "trace", _trace(line, trace_url)
    yield "texts", _texts(answer)


def _logged(line: Facts) -> str:
    nanoseconds = line.get("timestamp_ns")
    return cell("logged_at", nanoseconds / 1e9) if isinstance(nanoseconds, int) else ""


def _joined(*parts: str, separator: str = ", ") -> str:
    return separator.join(part for part in parts if part)


def _seconds(facts: Facts, name: str, after: str = "") -> str:
    value = facts.get(name)
    return f"{value:.6f}{after}" if isinstance(value, int | float) else ""


def _status(line: Facts) -> str:
    return f"-> {line['status']}" if line.get("status") else ""


def _outcome(answer: Facts, line: Facts) -> str:
    """Returns how the answer ended, and how the request did if that is something else."""
    ended = cell("outcome", answer["outcome"]) if "outcome" in answer else ""
    request = cell("outcome", line["outcome"]) if "outcome" in line else ""
    return _joined(ended, f"request {request}" if request else "")


def _code(answer: Facts, line: Facts) -> str:
    code = answer.get("error_code") or line.get("code")
    return f"error {cell('code', code)}" if code else ""


def _route(answer: Facts, line: Facts) -> str:
    """Returns the names from the requested one to the model that answered."""
    version = answer.get("prompt_version")
    engine = answer.get("engine")
    model = answer.get("model") or line.get("served")
    alias = answer.get("alias")
    parts = (
        ("", answer.get("requested") or line.get("model"), ""),
        ("assistant ", answer.get("assistant") or line.get("assistant"), f" (prompt {version})" if version else ""),
        ("alias ", alias if alias != model else None, ""),
        ("model ", model, f" ({engine})" if engine else ""),
        ("adapter ", answer.get("adapter"), ""),
    )
    return " > ".join(
        f"{kind}{cell('', name)}{cell('', after) if after else ''}" for kind, name, after in parts if name
    )


def _trace(line: Facts, url: str | None) -> str:
    id = line.get("trace_id")
    if not isinstance(id, str) or not id.isalnum():
        return ""
    return f"{id} {url.replace('{trace_id}', id)}" if url is not None else id


def _texts(answer: Facts) -> str:
    if not answer:
        return ""
    if answer.get("consent"):
        return f"GET /v1/admin/captures/{cell('id', answer.get('id'))}, with the scope review"
    return "not for review: its request did not consent"
