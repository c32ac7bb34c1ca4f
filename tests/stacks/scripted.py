"""Assistants over the model `ticker`, which says what its question's script says: faults of models and of their tools.

What they need stands beside the settings of the session's stack. `script` is in ticker.py.
"""

from __future__ import annotations

from tests.stacks.ticker import PAGE

TOPIC = "roulette"
"""A word that the guardrails of `guarded` block."""


def settings(url: str) -> dict[str, list[dict[str, object]]]:
    """Assistants and tools over the ticker at `url`, its base URL with `/v1`."""
    page = f"{url.removesuffix('/v1')}{PAGE}"
    return {
        "tools": [
            {"kind": "http", "name": "page", "description": "Reads a page.", "allow": [page], "private": True},
            {
                "kind": "http",
                "name": "broken",
                "description": "Is gone.",
                "allow": ["http://127.0.0.1:9/"],
                "private": True,
            },
        ],
        "assistants": [
            {"name": "scripted", "model": "ticker"},
            {"name": "programmer", "model": "ticker", "strategy": {"kind": "pal", "repairs": 0}},
            {
                "name": "caller",
                "model": "ticker",
                "tools": ["page", "broken"],
                "strategy": {"kind": "react", "steps": 6, "protocol": "text"},
                "guardrails": [{"check": "injection", "on": ["context"], "action": "redact"}],
            },
            {
                "name": "guarded",
                "model": "ticker",
                "guardrails": [
                    {"check": "topics", "words": [TOPIC]},
                    {"check": "pii", "action": "flag", "on": ["input", "output"]},
                    {"check": "secrets", "on": ["output"]},
                ],
            },
            {"name": "forgetful", "model": "ticker", "memory": {"kind": "facts"}},
            {"name": "finder", "model": "ticker", "knowledge": ["documents"]},
        ],
    }
