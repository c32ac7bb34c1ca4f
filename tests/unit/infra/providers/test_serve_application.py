import json
from collections.abc import Iterator

import httpx
import pytest

from infra.providers.problem import Problem
from infra.providers.resource import Task
from infra.providers.serve_application import _contains, _deploy, _final_error, _wait_running

LATE = "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task."


def serve(answers: Iterator[tuple[int, str]]) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        status, text = next(answers)
        return httpx.Response(status, text=text)

    return httpx.Client(base_url="http://serve", transport=httpx.MockTransport(answer))


def test_a_proxy_that_is_late_is_waited_for() -> None:
    said: list[str] = []
    _deploy(serve(iter([(500, LATE), (200, "")])), {"applications": []}, Task(said.append))
    assert said == ["waiting for Serve's proxy"]


def test_rejections_by_serve_are_reported_at_once() -> None:
    with pytest.raises(Problem, match="rejected the applications: ValueError: no"):
        _deploy(serve(iter([(400, "ValueError: no")])), {"applications": []}, Task(print))


@pytest.mark.parametrize(("engine", "fails"), [("llamacpp", True), ("app", False)])
def test_a_failed_app_does_not_keep_the_others_from_coming_up(engine: str, fails: bool) -> None:
    state = {"m": {"status": "RUNNING"}, "a": {"status": "DEPLOY_FAILED", "message": "AppImportError: no module x"}}
    client = serve(iter([(200, json.dumps({"applications": state}))] * 2))
    applications = [{"name": "m"}, {"name": "a", "args": {"model": {"engine": engine}}}]
    said: list[str] = []
    if fails:
        with pytest.raises(Problem, match="'a' failed: AppImportError: no module x"):
            _wait_running(client, applications, Task(said.append))
        return
    _wait_running(client, applications, Task(said.append))
    assert "'a' failed: AppImportError: no module x" in said[0]
    assert "the other models are served" in said[0]


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
def test_serves_defaults_are_no_drift(there: object, wanted: object, covered: bool) -> None:
    assert _contains(there, wanted) is covered


def test_a_failed_deployment_is_reported_by_its_last_error() -> None:
    text = """Deploying app 'x' failed with exception:
Traceback (most recent call last):
  File "a.py", line 1, in f
    raise LookupError
LookupError: secret file:/s cannot be read
"""
    assert _final_error(text) == "LookupError: secret file:/s cannot be read"
    assert _final_error("no route") == "no route"
    assert _final_error("") == "no reason given"
