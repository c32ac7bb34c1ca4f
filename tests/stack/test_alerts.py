"""Under a mixed load every panel, rule and alert has data, and provoked faults fire their alerts.

The load began in test_life.py, and other tests went on beside it.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.full


@pytest.mark.timeout(600)
def test_a_mixed_load_has_metrics_and_its_faults_fire_alerts(stack, mixed):
    verdict = mixed.result()
    assert verdict.problems == []
    assert verdict.mistakes == []
    assert verdict.broken == []
