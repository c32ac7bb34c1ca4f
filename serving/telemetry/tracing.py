"""Traces of requests, as spans. Without configuration, nothing here has a cost or imports OpenTelemetry.

Names of attributes are those of OpenTelemetry's semantic conventions for HTTP and for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/), and otherwise `headrace.…`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

Value = str | int | float | bool | tuple[str, ...]
Attributes = Mapping[str, Value]

PROVIDER = "openai"
"""The provider in the sense of the conventions: the one whose API all engines implement, whoever runs the model."""
OPERATIONS = {"/chat/completions": "chat", "/completions": "text_completion", "/embeddings": "embeddings"}

_REQUESTED = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "stream": "gen_ai.request.stream",
}
_USED = {"prompt_tokens": "gen_ai.usage.input_tokens", "completion_tokens": "gen_ai.usage.output_tokens"}


class Span(Protocol):
    """A span of a trace. Times are seconds of `time.perf_counter`, by default now."""

    @property
    def trace_id(self) -> str:
        """The trace's id: 32 hexadecimal digits."""

    @property
    def is_recording(self) -> bool:
        """Whether it is sampled."""

    def child(self, name: str, attributes: Attributes, *, begin: float | None = None, client: bool = False) -> Span:
        """Returns a child span; `client` tells that it is a request to another service."""

    def set(self, attributes: Attributes) -> None:
        """Adds attributes."""

    def rename(self, name: str) -> None:
        """Changes its name once that is known."""

    def content(self, name: str, value: object) -> None:
        """Adds content of people or models, if that is allowed."""

    def end(self, *, at: float | None = None, error: str | None = None) -> None:
        """Ends it; `error` is an error code or the name of an exception."""

    def headers(self) -> dict[str, str]:
        """Returns the headers with which the called service continues the trace (W3C Trace Context)."""


class Tracer(Protocol):
    """Creates traces and exports them."""

    def begin(self, name: str, headers: Iterable[tuple[bytes, bytes]], attributes: Attributes, at: float) -> Span:
        """Begins the span of a request that arrived at `at`, in the trace named by its headers."""

    def close(self) -> None:
        """Exports the remaining spans, within seconds."""


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def current() -> Span | None:
    """Returns the current span of this task."""
    return _current.get()


def recording_span() -> Span | None:
    """Returns the current span of this task if it is sampled."""
    span = _current.get()
    return span if span is not None and span.is_recording else None


@contextmanager
def within(span: Span) -> Iterator[None]:
    """Makes `span` the current one; its creator ends it."""
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def span(name: str, attributes: Attributes, *, client: bool = False) -> Iterator[Span | None]:
    """Yields a span within the current one, None if that is not sampled. An exception that leaves it is its error."""
    parent = recording_span()
    if parent is None:
        yield None
        return
    opened = parent.child(name, attributes, client=client)
    try:
        with within(opened):
            yield opened
    except BaseException as e:
        opened.end(error=str(getattr(e, "code", "")) or type(e).__name__)
        raise
    opened.end()


@contextmanager
def engine(url: str, path: str, document: Mapping[str, Any]) -> Iterator[None]:
    """Returns a span of a request to an engine."""
    operation = OPERATIONS.get(path)
    if operation is None or recording_span() is None:
        yield
        return
    model = str(document.get("model", ""))
    asked: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
        "url.full": url,
    }
    asked |= {name: document[field] for field, name in _REQUESTED.items() if document.get(field) is not None}
    with span(f"{operation} {model}", asked, client=True) as opened:
        if opened is not None and "messages" in document:
            opened.content("gen_ai.input.messages", document["messages"])
        yield


@contextmanager
def agent(name: str, model: str) -> Iterator[None]:
    """Returns a span of a strategy, around its requests to the model and tools; `name` is the assistant or model."""
    asked = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.agent.name": name,
        "gen_ai.request.model": model,
    }
    with span(f"invoke_agent {name}", asked):
        yield


def answered(choices: Sequence[Any] | None, usage: Mapping[str, Any] | None) -> None:
    """Adds an engine's answer and its reported tokens to the current span."""
    opened = recording_span()
    if opened is None:
        return
    counts = {name: value for field, name in _USED.items() if isinstance(value := (usage or {}).get(field), int)}
    opened.set(counts)
    if choices:
        ends = (choice.get("finish_reason") for choice in choices if isinstance(choice, Mapping))
        opened.set({"gen_ai.response.finish_reasons": tuple(end for end in ends if isinstance(end, str))})
        opened.content("gen_ai.output.messages", list(choices))


def headers() -> dict[str, str]:
    """Returns the headers with which a request to another service continues the current trace."""
    opened = _current.get()
    return {} if opened is None else opened.headers()
