import pytest

from infra.providers.serve_application import _covers, _reason


@pytest.mark.parametrize(
    ("there", "wanted", "covered"),
    [
        ({"a": 1, "filled_in": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": 1}, False),
        ({"d": [{"n": "x", "more": 1}]}, {"d": [{"n": "x"}]}, True),
        ({"d": [{"n": "x"}, {"n": "y"}]}, {"d": [{"n": "x"}]}, False),
        (None, {"a": 1}, False),
    ],
)
def test_what_serve_fills_in_is_no_drift(there: object, wanted: object, covered: bool) -> None:
    assert _covers(there, wanted) is covered


def test_a_failed_deployment_is_reported_by_its_last_error() -> None:
    text = """Deploying app 'x' failed with exception:
Traceback (most recent call last):
  File "a.py", line 1, in f
    raise LookupError
LookupError: secret file:/s cannot be read
"""
    assert _reason(text) == "LookupError: secret file:/s cannot be read"
    assert _reason("no route") == "no route"
    assert _reason("") == "no reason given"
