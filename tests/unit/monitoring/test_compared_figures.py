"""Every panel and every recorded series is compared with the truth by the accountant, or other programs fill it."""

import pytest

from serving.api import request_log
from serving.api.http_exchange import HttpExchange
from tests.contract.monitoring.accountant import coverage, elsewhere, figures, panels, records
from tests.contract.monitoring.accountant.ledger import Entry


def test_nobody_is_without_a_truth_and_no_list_is_too_long():
    assert coverage.uncompared() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("overview: Requests: requests", "overview: Requests: requests: nobody compares it"),
        ("overview: Nothing: nothing", "overview: Nothing: nothing: there is no such panel"),
    ],
)
def test_a_panel_without_a_truth_and_a_truth_without_a_panel_are_told(monkeypatch, name, said):
    changed = {key: figure for key, figure in panels.PANELS.items() if key != name}
    if name not in panels.PANELS:
        changed[name] = figures.nothing
    monkeypatch.setattr(panels, "PANELS", changed)
    assert coverage.uncompared() == [said]


def test_a_needless_entry_of_others_series_is_told(monkeypatch):
    monkeypatch.setitem(elsewhere.ELSEWHERE, "unheard_of_", "nobody reports it")
    assert coverage.uncompared() == ["unheard_of_: no figure needs it in the list of others' series"]


def test_every_field_of_the_log_line_is_compared():
    line = request_log.fields(HttpExchange("r", None, None))
    assert sorted(line) == sorted([*records.facts(Entry("r", "/healthz", None), {}, {}), *records.TIMES])
