"""Every figure that a person sees equals what really happened, as a script knows it that sent all traffic."""

from __future__ import annotations

import pytest

from tests.contract.monitoring.accountant.audit import audited
from tests.contract.monitoring.accountant.report import PAGE, listed

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    with audited(tmp_path_factory.mktemp("accountant")) as made:
        yield made


def test_every_figure_is_true(audit):
    assert audit.findings() == []


def test_the_page_names_every_figure(audit):
    text = PAGE.read_text()
    assert [each.name for each in listed(audit) if f"`{each.name}`" not in text.replace("\\|", "|")] == []
