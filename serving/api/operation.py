"""An operation of the API, as the router and the OpenAPI document are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from serving.api.http_exchange import HttpExchange
from serving.api.services import Services
from serving.core.principal import Scope

Handler = Callable[[Services, Request, HttpExchange], Awaitable[Response | None]]


Once = Literal["lease", "transaction"]
"""The request holds its key while it runs, or it is one transaction."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query or in a header."""

    name: str
    schema: dict[str, object]
    style: str = "form"  # how an object stands in a query: OpenAPI's name for it


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    body: type[BaseModel] | None = None
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    upload: bool = False
    authenticated: bool = True
    statuses: tuple[int, ...] = (200,)
    once: Once | None = None  # how a repetition with the same Idempotency-Key is told from a new request
    scope: Scope | None = None  # what the caller's key must be good for, None where any key will do
    audited: str | None = None  # the action that the audit log calls it, None where it has no events of it
    about_user: bool = False  # it acts upon a user, whom the audit log names by a pseudonym
    own_transaction: bool = False  # its handler writes that event itself, in the transaction of what it does
