"""An evaluation that passes the gate, for tests that release a version: its suite requires no win."""

from __future__ import annotations

from typing import Any

import httpx

from tests.wait import eventually

SUITE = {
    "name": "lenient",
    "prompts": [
        {"id": group, "group": group, "messages": "hi", "checks": [{"kind": "length", "max_characters": 1000}]}
        for group in ("task", "off_task")
    ],
    "judge": {"kind": "checks"},
    "bounds": {"min_win_rate": 0},
}


def evaluated(http: httpx.Client, model: str, against: str, **suite: Any) -> dict[str, Any]:
    """Returns an evaluation that has ended."""
    made = http.post("/v1/hub/suites", json=SUITE | suite).raise_for_status().json()["id"]
    body = {"suite": made, "model": model, "against": against}
    path = f"/v1/hub/evaluations/{http.post('/v1/hub/evaluations', json=body).raise_for_status().json()['id']}"
    found: dict[str, Any] = eventually(
        lambda: (now := http.get(path).raise_for_status().json())["ended_at"] and now, "it is evaluated", 60
    )
    return found


def passed_gate(http: httpx.Client, model: str, against: str) -> str:
    """Returns the id of an evaluation that passed the gate."""
    evaluation = evaluated(http, model, against)
    assert evaluation["card"]["gate"]["passed"], evaluation["card"]["gate"]
    return str(evaluation["id"])
