"""An operation of the API, from which the router and the OpenAPI document are generated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
"""How an operation supports the header: holding its key while it runs, or one transaction."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query or in a header."""

    name: str
    schema: dict[str, object]
    style: str = "form"  # OpenAPI's style of an object in a query


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    body: type[BaseModel] | None = None
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    upload: Mapping[str, object] | None = None  # schema of a multipart body
    authenticated: bool = True
    statuses: tuple[int, ...] = (200,)
    once: Once | None = None  # how a repetition with the same Idempotency-Key is handled
    scope: Scope | None = None  # required scope of the caller's key; None: any key
    audited: str | None = None  # action in the audit log; None: it has no events
    about_user: bool = False  # it affects a user, whom the audit log names by a pseudonym
    own_transaction: bool = False  # its handler writes the event itself, in the transaction of its effects
