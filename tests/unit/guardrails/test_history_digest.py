"""What a gateway remembers of texts that were checked."""

from __future__ import annotations

from typing import Any, cast

from serving.core.principal import Principal
from serving.guardrails.checker import GuardrailChecker
from serving.guardrails.history import HistoryChecker


class Rails:
    version = "1"


def digest(tenant: str, user: str, text: str) -> bytes:
    guard = GuardrailChecker(cast(Any, Rails()), cast(Any, None), Principal(tenant, user, "key"))
    return HistoryChecker(guard, cast(Any, None))._digest(text)


def test_a_text_that_was_checked_is_remembered_for_its_tenant() -> None:
    """Another tenant could tell by the time that somebody had said it before."""
    assert digest("acme", "ann", "a cake please") == digest("acme", "ben", "a cake please")
    assert digest("acme", "ann", "a cake please") != digest("evil", "eve", "a cake please")
