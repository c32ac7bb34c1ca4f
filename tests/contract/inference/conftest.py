"""What tests of answers share: quotas that end with their test."""

from __future__ import annotations

import pytest


@pytest.fixture
def limited(world):
    """Sets quotas until the end of the test."""
    made = []

    def limit(measure, most, window="day", subject="tenant", id="default"):
        given = {"subject": subject, "id": id, "window": window, "measure": measure, "limit": most}
        answer = world.http.put("/admin/quotas", json={"quotas": [given]})
        if answer.status_code == 200:
            made.append(answer.json()["data"][0]["quota_id"])
        return answer

    yield limit
    for id in made:
        world.http.delete("/admin/quotas", params={"quota_id": id})
