"""Every way in which a store call fails. The API makes one answer of each."""

from __future__ import annotations


class StoreError(Exception):
    """Base of the store's errors."""


class StoreUnavailable(StoreError):
    """State cannot be read or written now: disk full, read-only, damaged, locked, unreachable."""


class NewerDatabase(StoreUnavailable):
    """The database was written by a newer Headrace; this one would damage it."""


class UnreleasedDatabase(StoreUnavailable):
    """The database was written by a version from before the first release, which no migration leads from."""


class OlderDatabase(StoreUnavailable):
    """The database's schema is older than this version's, and this process is not the one to migrate it."""


class NotFound(StoreError):
    """There is no such object, or it is another's: the caller cannot tell which."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"no such {kind}")
        self.kind = kind
        self.id = id


class NotOwner(StoreError):
    """The caller may see the object and not change it."""


class PlatformOnly(StoreError):
    """The platform set it, and only the platform changes it."""


class Conflict(StoreError):
    """The object is in a state that does not allow the call."""


class TooMany(StoreError):
    """As much of it as may wait is waiting; the message says of what."""


class LeaseLost(StoreError):
    """A worker no longer holds its job, or a request its key: the lease was taken over, or the job ended."""


class InvalidValue(ValueError):
    """A value outside its bounds; `param` is the field's path and never the caller's text."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param
        self.message = message
