"""Pagination of lists, as in OpenAI's API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar

from starlette.requests import Request

from serving.api.http import JsonResponse
from serving.protocol.errors import invalid
from serving.store.relational.rows import Order, Page

T = TypeVar("T")

MAX_DAYS = 400


def page_query(
    request: Request, *, default: int = 20, most: int = 100, order: Order = "desc", longest_id: int = 64
) -> dict[str, Any]:
    """Returns `limit`, `order` and `after` of a list request; raises a 400."""
    query = request.query_params
    return {
        "limit": _limit(query.get("limit"), default, most),
        "order": one_of(query.get("order"), "order", ("desc", "asc")) or order,
        "after": text_query(request, "after", longest_id),
    }


def _limit(value: str | None, default: int, most: int) -> int:
    if value is None:
        return default
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or not 1 <= int(value) <= most:
        raise invalid(f"limit must be a number from 1 to {most}.", "limit")
    return int(value)


def number(value: str | None, name: str) -> int | None:
    """Returns a whole number of at most nine digits; raises a 400."""
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise invalid(f"{name} must be a whole number.", name)
    return int(value)


def seconds(request: Request, name: str) -> int | None:
    """Returns a time in unix seconds; raises a 400."""
    value = request.query_params.get(name)
    if value is not None and not (value.isascii() and value.isdigit() and len(value) <= 11):
        raise invalid(f"{name} must be a time in unix seconds.", name)
    return int(value) if value is not None else None


def days(request: Request, today: str) -> tuple[date, date]:
    """Returns `start` and `end` of a request about days, by default this month up to `today`; raises a 400."""
    last = date.fromisoformat(today)
    first, last = _day(request, "start", last.replace(day=1)), _day(request, "end", last)
    if (last - first).days >= MAX_DAYS:
        raise invalid(f"start and end must be less than {MAX_DAYS} days apart.", "start")
    return first, last


def _day(request: Request, name: str, default: date) -> date:
    given = text_query(request, name, 10)
    try:
        return date.fromisoformat(given) if given is not None else default
    except ValueError:
        raise invalid(f"{name} must be a day such as 2026-01-31.", name) from None


def one_of(value: str | None, name: str, allowed: tuple[str, ...]) -> str | None:
    """Returns `value` when it is allowed; raises a 400."""
    if value is not None and value not in allowed:
        raise invalid(f"{name} must be one of {', '.join(allowed)}.", name)
    return value


def flag(request: Request, name: str) -> bool | None:
    """Returns a parameter that is true or false, None if it is not given; raises a 400."""
    value = one_of(request.query_params.get(name), name, ("true", "false"))
    return value == "true" if value is not None else None


def text_query(request: Request, name: str, most: int) -> str | None:
    """Returns a text parameter; raises a 400 when it is too long or contains characters that databases reject."""
    value = request.query_params.get(name)
    if value is not None and (len(value) > most or "\0" in value):
        raise invalid(f"{name} must have at most {most} characters and no NUL.", name)
    return value


def list_query(request: Request, name: str, *, count: int, most: int) -> list[str]:
    """Returns the values of a list parameter; raises a 400 when there are more than `count`, or one has over `most`
    characters.
    """
    # OpenAI's SDKs send lists with brackets.
    values = request.query_params.getlist(name) + request.query_params.getlist(f"{name}[]")
    if len(values) > count or any(len(value) > most for value in values):
        raise invalid(f"{name} must have at most {count} values of at most {most} characters.", name)
    return values


def page_document(page: Page[T], render: Callable[[T], dict[str, Any]], key: str = "id") -> dict[str, Any]:
    """Returns a list object; `key` is the field that identifies an item."""
    data = [render(item) for item in page.items]
    ends = {"first_id": data[0][key] if data else None, "last_id": data[-1][key] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": page.has_more}


def page_response(page: Page[T], render: Callable[[T], dict[str, Any]]) -> JsonResponse:
    """Returns a list object as an answer."""
    return JsonResponse(page_document(page, render))
