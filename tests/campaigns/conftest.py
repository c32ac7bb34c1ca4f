from __future__ import annotations

from tests.unit.conftest import postgres

__all__ = ["postgres"]
