"""The errors of the store, each of which the API converts to one answer."""

from __future__ import annotations


class StoreError(Exception):
    """Base class of the store's errors."""


class StoreUnavailable(StoreError):
    """The state cannot be read or written now: disk full, read-only, damaged, locked, unreachable."""


class NewerDatabase(StoreUnavailable):
    """The database was written by a newer version of Headrace, and this one would damage it."""


class UnreleasedDatabase(StoreUnavailable):
    """The database was written by an unreleased version, from which no migration exists."""


class OlderDatabase(StoreUnavailable):
    """The database's schema is older than this version's, and this process must not migrate it."""


class NotFound(StoreError):
    """The object does not exist, or it belongs to another user: the caller cannot tell which.

    `param` is the field of the request's body that names it; None where the path does.
    """

    def __init__(self, kind: str, id: str, param: str | None = None) -> None:
        super().__init__(f"no such {kind}")
        self.kind = kind
        self.id = id
        self.param = param


class NotOwner(StoreError):
    """The caller may read the object but not change it; the message says who may."""

    def __init__(self, message: str = "Only the owner and the tenant's admins may change this.") -> None:
        super().__init__(message)


class PlatformOnly(StoreError):
    """The platform set the object, and only the platform may change it."""


class Conflict(StoreError):
    """The object is in a state that does not allow the call."""


class TooMany(StoreError):
    """The maximum number of waiting or stored objects is reached; the message names them."""


class LeaseLost(StoreError):
    """A worker lost its job, or a request its key: the lease was taken over, or the job ended."""


class InvalidValue(ValueError):
    """A value beyond its limits; `param` is the field's path and never the caller's text."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param
        self.message = message
