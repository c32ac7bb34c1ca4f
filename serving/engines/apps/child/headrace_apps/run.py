"""The current run: the platform's address for it, and its caller."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

MAX_ANSWER = 64_000_000
"""Maximum size of an answer of the platform, in bytes."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PlatformError(Exception):
    """The platform rejected a request; `code` and `status` are those of its error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status_code = status
        self.code = code


@dataclass(frozen=True)
class Run:
    """One run. While it lasts, the platform accepts `token` for requests on behalf of its caller.

    `thread` is the id under which checkpoints are stored; they outlive the run if it is `kept`. Of `messages`, which
    have OpenAI's format, the last `new` are from the request, and those before from its conversation. `settings` are
    other parameters of the request, such as its temperature. `threads` are the run's unfinished calls in threads.
    """

    url: str
    token: str = field(repr=False)
    messages: list[dict[str, Any]]
    new: int
    thread: str
    kept: bool
    settings: Mapping[str, Any]
    emit: Callable[[dict[str, Any]], None]
    traceparent: str = ""
    threads: set[Future[Any]] = field(default_factory=set, repr=False, compare=False)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a request to the platform."""
        traced = {"traceparent": self.traceparent} if self.traceparent else {}
        return {"Authorization": f"Bearer {self.token}", **traced}

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Sends a request to the platform and returns the answer. Raises `PlatformError`."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {**self.headers, "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 (the gateway)
        try:
            with _OPENER.open(request, timeout=600) as response:
                return json.loads(response.read(MAX_ANSWER) or b"null")
        except urllib.error.HTTPError as e:
            error = _error(e.read(65536))
            raise PlatformError(e.code, str(error.get("code")), str(error.get("message"))) from None
        except (OSError, http.client.HTTPException) as e:
            raise PlatformError(0, "unavailable", f"the platform does not answer: {e}") from None


def _error(body: bytes) -> dict[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


_current: ContextVar[Run | None] = ContextVar("run", default=None)


def current() -> Run:
    """Returns the current run. Raises `RuntimeError` outside of a run."""
    run = _current.get()
    if run is None:
        raise RuntimeError("the platform can be used only within a run, on behalf of its caller")
    return run


def running() -> Run | None:
    """Returns the current run, or None outside of a run."""
    return _current.get()


def enter(run: Run) -> None:
    """Makes this task, and the tasks that it starts, belong to a run."""
    _current.set(run)
