"""Ten incidents, injected without a word: alert, panel and runbook name the cause of each."""

from __future__ import annotations

import pytest

from tests.contract.monitoring.incidents.campaign import ran
from tests.contract.monitoring.incidents.incident import INCIDENTS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    found = {}
    ran(tmp_path_factory.mktemp("incidents"), INCIDENTS, lambda each: found.update({each.incident.name: each}))
    return found


@pytest.mark.parametrize("name", [each.name for each in INCIDENTS])
def test_the_cause_is_named(outcomes, name):
    assert outcomes[name].wrong == []
