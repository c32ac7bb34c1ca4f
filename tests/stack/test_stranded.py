"""A machine that shuts down half-way strands Serve, which comes back."""

from __future__ import annotations

from tests.stack.recovered import Recovered


def test_serve_comes_back(recovery: Recovered) -> None:
    before, after = recovery.before, recovery.after
    assert (before.status_code, before.json()["error"]["code"]) == (503, "ray_silent")
    assert (after.status_code, after.json()["applications"]) == (200, {})
    assert recovery.wall.running("one")
