"""The input of a batch: a JSON Lines file with a request on each line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from serving.api.http import check_shape
from serving.config import Limits
from serving.protocol.errors import ApiError

MAX_LINES = 50_000
MAX_CUSTOM_ID = 512
MAX_ERRORS = 100
"""Maximum number of errors that a batch reports: more of them probably have the same cause."""


@dataclass(frozen=True, slots=True)
class InputLine:
    """One line, by its number from 1: the bytes from `start` to `end` of the file."""

    number: int
    custom_id: str
    start: int
    end: int


def read_lines(content: bytes, endpoint: str, limits: Limits) -> tuple[list[InputLine], list[dict[str, Any]]]:
    """Returns the lines of a file, and their errors in OpenAI's format.

    A line has the limit of a request's body: longer ones are not parsed.
    """
    lines: list[InputLine] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    at = number = 0
    while at < len(content) and len(errors) < MAX_ERRORS:
        end = content.find(b"\n", at)
        end = len(content) if end < 0 else end
        start, at = at, end + 1
        number += 1
        if end - start > limits.body_bytes:
            message = f"A line has at most {limits.body_bytes} bytes, as the body of a request."
            errors.append(_error("line_too_large", message, number))
            continue
        if not content[start:end].strip():
            continue
        if len(lines) == MAX_LINES:
            errors.append(_error("too_many_lines", f"A batch has at most {MAX_LINES} requests.", number))
            break
        custom_id, problem = _check(content[start:end], endpoint, limits, seen)
        if problem is not None:
            errors.append(_error(problem[0], problem[1], number, problem[2]))
        else:
            seen.add(custom_id)
            lines.append(InputLine(number, custom_id, start, end))
    if not lines and not errors:
        errors.append(_error("empty_file", "The file has no requests.", None))
    return lines, errors


def body_of(content: bytes, line: InputLine) -> bytes:
    """Returns the body of a line's request."""
    return orjson.dumps(orjson.loads(content[line.start : line.end])["body"])


def _check(
    text: bytes, endpoint: str, limits: Limits, seen: set[str]
) -> tuple[str, tuple[str, str, str | None] | None]:
    """Returns the `custom_id` of a line, and code, message and field of its error."""
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "", ("invalid_json_line", "This line is not valid JSON.", None)
    if not isinstance(request, dict):
        return "", ("invalid_request", "A line must be a JSON object.", None)
    id, body = request.get("custom_id"), request.get("body")
    if not isinstance(id, str) or not 1 <= len(id) <= MAX_CUSTOM_ID:
        return "", ("invalid_custom_id", f"custom_id must be a text of 1 to {MAX_CUSTOM_ID} characters.", "custom_id")
    if id in seen:
        return id, ("duplicate_custom_id", "Another line has this custom_id.", "custom_id")
    if request.get("method") != "POST":
        return id, ("invalid_method", "method must be POST.", "method")
    if request.get("url") != endpoint:
        return id, ("mismatched_url", f"url must be the batch's endpoint, {endpoint}.", "url")
    if not isinstance(body, dict):
        return id, ("invalid_request", "body must be a JSON object.", "body")
    try:
        check_shape(body, limits)
    except ApiError as e:
        return id, ("invalid_request", e.message, "body")
    for field in ("stream", "background"):
        if body.get(field):
            return id, ("invalid_request", f"{field} must not be set: batches do not stream.", f"body.{field}")
    return id, None


def _error(code: str, message: str, line: int | None, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": param}
