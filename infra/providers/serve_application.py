"""The Serve applications of a Ray, as one declarative document.

Ray's REST API: https://docs.ray.io/en/latest/serve/api/index.html#put-api-serve-applications
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx

from infra.providers import fetched_weights
from infra.resources.problem import Problem
from infra.resources.resource import Found, Resource, Task, Values

PROXY_DIED = "ActorDiedError"
"""Error while Serve replaces a proxy that was too slow to start, as the first one can be on a busy host."""
PROXY_PATIENCE_S = 240
ANSWER_S = 120.0
"""Time in seconds for one answer of Ray's dashboard."""

READY_S = 600
"""Loading a large model takes this long; progress is shown meanwhile."""

WEIGHTS_EVERY_S = 5
"""Time between two looks at the progress of weights."""


class ServeApplicationProvider(Resource):
    """Inputs: `url` (of Ray's dashboard), `token_path`, `document`, `session` (the run of Ray; a new run needs the
    document again), `ready` (URL that answers 200 when requests are served), `metrics` (URL of the exporter, by whose
    metrics the progress of weights is shown).

    A refresh compares the document that Serve returns, in which Serve adds defaults, with the one deployed last.
    """

    replace_on = frozenset({"url"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        with _client(new) as client:
            _deploy(client, new["document"], task)
            _wait_running(client, new["document"]["applications"], task, new.get("metrics", ""))
        _wait_ready(new["ready"], task)
        return new["url"], {k: v for k, v in new.items() if k != "drifted"}

    def read(self, id: str, old: Values) -> Found:
        try:
            with _client(old) as client:
                deployed = _applications(client)
        except (httpx.HTTPError, OSError):
            return Found()
        if not deployed:
            return Found()
        wanted = {a["name"]: a for a in old["document"]["applications"]}
        drifted = deployed.keys() != wanted.keys() or any(
            not _contains(deployed[name].get("deployed_app_config") or {}, wanted[name])
            or deployed[name]["status"] not in ("RUNNING", "DEPLOYING")
            for name in wanted
        )
        return Found(id, {**old, "drifted": True} if drifted else old)

    def delete(self, id: str, old: Values, task: Task) -> None:
        try:
            with _client(old) as client:
                client.delete("/api/serve/applications/").raise_for_status()
        except (httpx.HTTPError, OSError):
            return  # Ray has ended, and its applications with it


def _client(values: Values) -> httpx.Client:
    token = Path(values["token_path"]).read_text()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=values["url"], headers=headers, timeout=ANSWER_S, trust_env=False)


def _applications(client: httpx.Client) -> dict[str, dict[str, Any]]:
    response = client.get("/api/serve/applications/")
    response.raise_for_status()
    return dict(response.json()["applications"])


def _deploy(client: httpx.Client, document: Values, task: Task) -> None:
    start = time.monotonic()
    while True:
        try:
            response = client.put("/api/serve/applications/", json=document)
        except httpx.TimeoutException:  # a busy host starts Serve slowly; the same document changes nothing twice
            reason, slow = f"no answer in {ANSWER_S:g} s", True
        else:
            if response.status_code == 200:
                return
            reason = _final_error(response.text)
            slow = PROXY_DIED in reason
        if not slow or time.monotonic() - start > PROXY_PATIENCE_S:
            raise Problem(f"Ray Serve rejected the applications: {reason}")
        task.say("waiting for Serve's proxy")
        task.pause(1)


def _contains(deployed: Any, wanted: Any) -> bool:
    """Returns whether `deployed` has all values of `wanted`; it may have more."""
    if isinstance(wanted, dict):
        return isinstance(deployed, dict) and all(
            k in deployed and _contains(deployed[k], v) for k, v in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(deployed, list) and len(deployed) == len(wanted) and all(map(_contains, deployed, wanted))
    return bool(deployed == wanted)


def _final_error(text: str) -> str:
    """Returns the error at the end of a traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit): ", line)]
    return (errors or lines or ["no reason given"])[-1]


def _wait_running(client: httpx.Client, applications: list[Values], task: Task, metrics: str = "") -> None:
    """Waits until all applications run. An app that fails to start is reported, but the others continue."""
    weights = _Weights(metrics)
    names = {application["name"] for application in applications}
    apps = {a["name"] for a in applications if a.get("args", {}).get("model", {}).get("engine") == "app"}
    start = time.monotonic()
    shown = ""
    failed: set[str] = set()
    while True:
        deployed = _applications(client)
        states = {name: deployed.get(name, {}).get("status", "NOT_STARTED") for name in names}
        for name, state in states.items():
            if state != "DEPLOY_FAILED" or name in failed:  # unlike UNHEALTHY, which Serve recovers from
                continue
            problem = (
                f"Serve application '{name}' failed: {_final_error(_messages(deployed[name]))}"
                "\nthe logs of its replicas are in Ray's folder, under logs/serve"
            )
            if name not in apps:
                raise Problem(problem)
            task.say(f"warning: {problem}; the other models are served, and `make up` tries it again")
            failed.add(name)
        waiting = [name for name, state in states.items() if state != "RUNNING" and name not in failed]
        if not waiting and deployed.keys() == names:
            return
        pending = ", ".join(sorted(waiting)) or "old applications to end"
        if pending != shown:
            task.say(f"waiting for {pending}")
            shown = pending
        if waiting and weights.advance(task):
            start = time.monotonic()
        if time.monotonic() - start > READY_S:
            raise Problem(f"not running after {READY_S} s: {pending}; see Ray's dashboard at {client.base_url}")
        task.pause(0.25)


class _Weights:
    """Shows the progress of weights that replicas fetch."""

    def __init__(self, metrics: str) -> None:
        self._url = metrics
        self._asked = 0.0
        self._shown: dict[str, str] = {}

    def advance(self, task: Task) -> bool:
        """Asks the exporter now and then, and returns whether more has been fetched."""
        if not self._url or time.monotonic() - self._asked < WEIGHTS_EVERY_S:
            return False
        self._asked = time.monotonic()
        try:
            found = fetched_weights.progress(httpx.get(self._url, timeout=10, trust_env=False).text)
        except httpx.HTTPError:
            return False
        if advanced := found != self._shown:
            for model, text in found.items():
                task.say(f"weights of {model}: {text}")
        self._shown = found
        return advanced and bool(found)


def _messages(application: dict[str, Any]) -> str:
    parts = [d.get("message", "") for d in application.get("deployments", {}).values()]
    return "\n".join([*(p for p in parts if p), application.get("message", "")])


def _wait_ready(url: str, task: Task) -> None:
    start = time.monotonic()
    last = "no answer"
    while time.monotonic() - start < 60:
        try:
            response = httpx.get(url, timeout=10, trust_env=False)
            if response.status_code == 200:
                return
            last = f"status {response.status_code}: {response.text[:300]}"
        except httpx.HTTPError as e:
            last = str(e)
        task.pause(0.1)
    raise Problem(f"the applications are running, but {url} does not answer 200 after 60 s ({last})")
