"""What the chart renders is what Kubernetes takes."""

from __future__ import annotations

import pytest

from tests.rendering.chart_values import VARIANTS
from tests.rendering.schemas import mistakes, validator_of

__all__ = ["validator_of"]


def test_full_values_are_valid(full, validator_of):
    assert list(mistakes(full, validator_of)) == []


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_rendered_objects_match_their_schemas(values, render, validator_of):
    assert list(mistakes(render(values), validator_of)) == []


def test_the_schemas_detect_broken_objects(default, validator_of):
    """Guards the guard: an unknown field, a wrong type and a missing field are each found."""
    service = default.one("RayService")
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]
    broken = [
        {**service, "spec": {**service["spec"], "servConfigV2": ""}},
        {**service, "spec": {**service["spec"], "rayClusterDeletionDelaySeconds": "660"}},
        {**service, "spec": {**service["spec"], "rayClusterConfig": {"headGroupSpec": {**head, "template": {"x": 1}}}}},
        {**default.one("ConfigMap", "scripts"), "dat": {}},
    ]
    for given in broken:
        assert list(mistakes([given], validator_of)), given
