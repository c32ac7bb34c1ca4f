"""Failures of engines to serve a model or an adapter."""

from __future__ import annotations


class StartFailed(RuntimeError):
    """An engine did not start; the message ends with its last output."""


class AdapterRejected(Exception):
    """An engine cannot serve an adapter; the message is the reason. Its other adapters are not affected."""

    def __init__(self, adapter: str, reason: str) -> None:
        super().__init__(reason)
        self.adapter = adapter


class AdapterNotLoaded(Exception):
    """A replica does not serve an adapter, although others may; it grants no lease for it."""
