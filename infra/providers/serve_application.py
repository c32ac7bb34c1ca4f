"""The Serve applications of a Ray, as one declarative document.

Ray's REST API: https://docs.ray.io/en/latest/serve/api/index.html#put-api-serve-applications
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx

from infra.providers.problem import Problem
from infra.providers.resource import Found, Resource, Task, Values

LATE = "ActorDiedError"
"""What Serve says when it ended a proxy that was late: on a busy host its first one is, and then another is started."""
LATE_S = 240

READY_S = 600
"""A model may be large; progress is shown all the while."""


class ServeApplication(Resource):
    """Inputs: `url` (of Ray's dashboard), `token_path`, `document`, `session` (the Ray that it was given to: a
    new one needs the document again), `ready` (URL that answers 200 when requests are served).

    Serve keeps the document it was given, except what it fills in; what it says about it is compared with what
    we said last.
    """

    replace_on = frozenset({"url"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        with _client(new) as client:
            _deploy(client, new["document"], task)
            _wait_running(client, [a["name"] for a in new["document"]["applications"]], task)
        _wait_answer(new["ready"], task)
        return new["url"], {k: v for k, v in new.items() if k != "drifted"}

    def read(self, id: str, old: Values) -> Found:
        try:
            with _client(old) as client:
                there = _applications(client)
        except (httpx.HTTPError, OSError):
            return Found()
        if not there:
            return Found()
        wanted = {a["name"]: a for a in old["document"]["applications"]}
        drifted = there.keys() != wanted.keys() or any(
            not _covers(there[name].get("deployed_app_config") or {}, wanted[name])
            or there[name]["status"] not in ("RUNNING", "DEPLOYING")
            for name in wanted
        )
        return Found(id, {**old, "drifted": True} if drifted else old)

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        return self.create(new, task)[1]

    def delete(self, id: str, old: Values, task: Task) -> None:
        try:
            with _client(old) as client:
                client.delete("/api/serve/applications/").raise_for_status()
        except (httpx.HTTPError, OSError):
            return  # the Ray is gone, and its applications with it


def _client(values: Values) -> httpx.Client:
    token = Path(values["token_path"]).read_text()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=values["url"], headers=headers, timeout=120, trust_env=False)


def _applications(client: httpx.Client) -> dict[str, dict[str, Any]]:
    response = client.get("/api/serve/applications/")
    response.raise_for_status()
    return dict(response.json()["applications"])


def _deploy(client: httpx.Client, document: Values, task: Task) -> None:
    start = time.monotonic()
    while (response := client.put("/api/serve/applications/", json=document)).status_code != 200:
        reason = _reason(response.text)
        if LATE not in reason or time.monotonic() - start > LATE_S:
            raise Problem(f"Ray Serve refused the applications: {reason}")
        task.say("waiting for Serve's proxy")
        task.pause(1)


def _covers(there: Any, wanted: Any) -> bool:
    """True when `there` says all that `wanted` says; it may say more."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(k in there and _covers(there[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(map(_covers, there, wanted))
    return bool(there == wanted)


def _reason(text: str) -> str:
    """The error that a failed deployment ends with, without the stack above it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit): ", line)]
    return (errors or lines or ["no reason given"])[-1]


def _wait_running(client: httpx.Client, names: list[str], task: Task) -> None:
    start = time.monotonic()
    said = ""
    while True:
        there = _applications(client)
        states = {name: there.get(name, {}).get("status", "NOT_STARTED") for name in names}
        for name, state in states.items():
            if state == "DEPLOY_FAILED":  # an unhealthy one is being healed
                raise Problem(
                    f"Serve application '{name}' failed: {_reason(_messages(there[name]))}"
                    "\nits replicas' logs are in Ray's folder, under logs/serve"
                )
        if all(state == "RUNNING" for state in states.values()) and there.keys() == set(names):
            return
        waiting = ", ".join(n for n, s in states.items() if s != "RUNNING") or "old applications to end"
        if waiting != said:
            task.say(f"waiting for {waiting}")
            said = waiting
        if time.monotonic() - start > READY_S:
            raise Problem(f"not running after {READY_S} s: {waiting}; see Ray's dashboard at {client.base_url}")
        task.pause(0.25)


def _messages(application: dict[str, Any]) -> str:
    parts = [d.get("message", "") for d in application.get("deployments", {}).values()]
    return "\n".join([*(p for p in parts if p), application.get("message", "")])


def _wait_answer(url: str, task: Task) -> None:
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
    raise Problem(f"the applications run, but {url} does not answer 200 after 60 s ({last})")
