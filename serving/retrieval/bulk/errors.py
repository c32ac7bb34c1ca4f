"""Errors of a load before it begins."""

from __future__ import annotations


class BulkError(Exception):
    """An error that the caller can correct; the message says how."""
