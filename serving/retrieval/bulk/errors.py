"""How a load fails before it begins."""

from __future__ import annotations


class BulkError(Exception):
    """What the caller can mend; the message says how."""
