"""Ids of resumable streams: they contain the address of the replica with the buffer, and are signed for one caller."""

from __future__ import annotations

import base64
import hmac
import re
import secrets

import orjson

from serving.api.http_error import HttpError
from serving.core.principal import Principal
from serving.protocol.errors import ApiError, invalid, not_found
from serving.security.signed import keys

_ID = re.compile(r"stream_[A-Za-z0-9_-]{38,300}", re.ASCII)
_SIGNATURE = 22  # characters for 128 bits
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


class StreamIds:
    """Creates and verifies ids: `stream_`, base64url of 96 random bits and the owner's address, and a signature.

    The signature is HMAC-SHA256 with a key derived from the stack's key `secret`, truncated to 128 bits, over the id,
    the tenant and the user. An address is trusted only if a replica of this stack signed it for this caller. Signatures
    with the secret `previous` are accepted too.
    """

    def __init__(self, secret: str, *, previous: str | None = None) -> None:
        self._keys = keys(b"headrace: resumable streams", secret, previous)

    def __repr__(self) -> str:
        return "StreamIds()"

    def new(self, owner: str, caller: Principal) -> str:
        """Returns a new id for a stream of `caller` whose buffer is at `owner` (`host:port`)."""
        unsigned = "stream_" + _text(secrets.token_bytes(12) + owner.encode())
        return unsigned + _signature(self._keys[0], unsigned, caller)

    def owner(self, id: str, caller: Principal) -> str:
        """Returns the address of the replica with the buffer. A 404 for an id that was not created for `caller`."""
        if not _ID.fullmatch(id):
            raise not_found("stream")
        unsigned, signature = id[:-_SIGNATURE], id[-_SIGNATURE:]
        if not any(hmac.compare_digest(signature, _signature(key, unsigned, caller)) for key in self._keys):
            raise not_found("stream")
        encoded = unsigned.removeprefix("stream_")
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))[12:].decode()

    def ticket(self, id: str) -> str:
        """Returns the ticket with which one replica requests this stream from another. It is valid for no
        other stream.
        """
        return _ticket(self._keys[0], id)

    def is_ticket(self, shown: str, id: str) -> bool:
        """Returns whether the ticket was created by a replica of this stack for this stream."""
        given = shown.encode(errors="replace")
        return any(hmac.compare_digest(given, _ticket(key, id).encode()) for key in self._keys)


def _ticket(key: bytes, id: str) -> str:
    return _text(hmac.digest(key, b"ticket:" + id.encode(), "sha256"))


def _signature(key: bytes, unsigned: str, caller: Principal) -> str:
    signed = orjson.dumps([unsigned, caller.tenant, caller.user])
    return _text(hmac.digest(key, b"id:" + signed, "sha256")[:16])


def last_event(id: str, given: str | None) -> int:
    """Returns the number in a header `Last-Event-ID: <id>.<number>`, or 0 without the header; raises a 400."""
    if not given:
        return 0
    stream, _, number = given.rpartition(".")
    if stream != id or not _NUMBER.fullmatch(number):
        raise invalid("Last-Event-ID must be the id of an event of this stream.", "last-event-id")
    return int(number)


def stream_lost(message: str) -> ApiError:
    """Returns the error when the owner answers, but no longer has the requested events."""
    return HttpError(410, "stream_lost", f"{message} Get the stored answer, or ask again.")


def owner_lost() -> ApiError:
    """Returns the error when the replica with the buffer does not answer."""
    message = "The gateway that held this stream cannot be reached. Get the stored answer, or ask again."
    return HttpError(503, "stream_lost", message, headers={"Retry-After": "5"})


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
