"""Under a mixed load every panel, rule and alert has its data, and what goes wrong fires its alert.

The load began in test_life.py, and other tests went on beside it.
"""

from __future__ import annotations

import pytest


@pytest.mark.timeout(600)
def test_a_mixed_load_is_seen_and_what_goes_wrong_fires_its_alert(stack, mixed):
    verdict = mixed.result()
    assert verdict.problems == []
    assert verdict.mistakes == []
    assert verdict.broken == []
