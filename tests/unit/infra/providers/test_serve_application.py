import itertools
import json
import time
from collections.abc import Iterator

import httpx
import pytest

from infra.providers import serve_application
from infra.providers.serve_application import _contains, _deploy, _final_error, _wait_running
from infra.resources.problem import Problem
from infra.resources.resource import Task
from tests.replace import replace

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


def test_a_dashboard_that_does_not_answer_in_time_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        if len(asked) == 2:
            return httpx.Response(200)
        raise httpx.ReadTimeout("timed out", request=request)

    def client() -> httpx.Client:
        return httpx.Client(base_url="http://serve", transport=httpx.MockTransport(answer))

    _deploy(client(), {"applications": []}, Task(print))
    assert len(asked) == 2
    assert len(set(asked)) == 1
    monkeypatch.setattr(serve_application, "PROXY_PATIENCE_S", -1)
    with pytest.raises(Problem, match="rejected the applications: no answer in 120 s"):
        _deploy(client(), {"applications": []}, Task(print))


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


def test_the_progress_of_weights_is_shown_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    replace(monkeypatch, serve_application, time, monotonic=lambda: now[0])
    there = itertools.chain([0, 1 << 30], itertools.repeat(4 << 30))

    def metrics(url: str, **_: object) -> httpx.Response:
        assert url == "http://exporter/metrics"
        sizes = f'headrace_weights_bytes{{model="m"}} {4 << 30}\n'
        return httpx.Response(200, text=f'{sizes}headrace_weights_fetched_bytes{{model="m"}} {next(there)}.0\n')

    def answer(request: httpx.Request) -> httpx.Response:
        now[0] += serve_application.READY_S - 1
        return httpx.Response(200, json={"applications": {"m": {"status": "DEPLOYING"}}})

    monkeypatch.setattr(httpx, "get", metrics)
    client = httpx.Client(base_url="http://serve", transport=httpx.MockTransport(answer))
    task = Task((said := []).append)
    monkeypatch.setattr(Task, "pause", lambda self, seconds: None)
    with pytest.raises(Problem, match="not running after"):
        _wait_running(client, [{"name": "m"}], task, "http://exporter/metrics")
    assert said == ["waiting for m", "weights of m: 0.0 of 4.0 GiB (0 %)", "weights of m: 1.0 of 4.0 GiB (25 %)"]


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
