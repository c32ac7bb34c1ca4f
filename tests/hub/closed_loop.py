"""The closed loop through the API alone: answers are corrected, a version is tuned, compared, and released."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from tests.wait import eventually

Json = dict[str, Any]


class ClosedLoop:
    """One operator's way from ratings to a release of `alias`. Each wait may take `patience_s`."""

    def __init__(self, http: httpx.Client, *, base: str, alias: str, patience_s: float = 60) -> None:
        self._http, self._base, self._alias, self._patience_s = http, base, alias, patience_s

    def get(self, path: str) -> Json:
        """Returns the answer to a GET."""
        found: Json = self._http.get(f"/v1{path}").raise_for_status().json()
        return found

    def post(self, path: str, body: Json, status: int = 200) -> Json:
        """Returns the answer to a POST, which must have this status."""
        answer = self._http.post(f"/v1{path}", json=body)
        assert answer.status_code == status, answer.text
        found: Json = answer.json()
        return found

    def ask(self, question: str) -> Json:
        """Asks the alias."""
        messages = [{"role": "user", "content": question}]
        return self.post(
            "/chat/completions",
            {"model": self._alias, "messages": messages, "max_tokens": 128, "temperature": 0, "store": True},
        )

    def correct(self, corrections: Mapping[str, str]) -> None:
        """Asks questions, and rates their answers by what should have been said."""
        for question, answer in corrections.items():
            target = {"type": "response", "id": self.ask(question)["id"]}
            self.post("/feedback", {"target": target, "correction": answer, "consent": True})

    def freeze(self) -> Json:
        """Returns a data set of all corrections. They are a test's own: nothing is redacted."""
        made = self.post("/hub/datasets", {"format": "trl-sft", "redact": False, "alike": None})
        return self._ended(f"/hub/datasets/{made['id']}", lambda found: found["status"] != "building")

    def tune(self, dataset: Json, name: str, **recipe: Any) -> Json:
        """Returns the version of a job of supervised fine-tuning."""
        body = {"method": "sft", "name": name, "base": self._base, "dataset": dataset["id"], "recipe": recipe}
        path = f"/hub/jobs/{self.post('/hub/jobs', body)['id']}"
        job = self._ended(path, lambda found: found["finished_at"])
        assert job["status"] == "succeeded", (job, self.get(f"{path}/events")["data"][-3:])
        return self.get(f"/hub/versions/{job['version']}")

    def failed(self, body: Json) -> Json:
        """Returns a job that fails."""
        path = f"/hub/jobs/{self.post('/hub/jobs', body)['id']}"
        job = self._ended(path, lambda found: found["finished_at"])
        assert job["status"] == "failed", job
        return job

    def evaluate(self, version: Json, suite: Json) -> Json:
        """Returns the evaluation of a version against its base; it is served meanwhile."""
        path = f"/hub/versions/{version['id']}"
        model = self.post(f"{path}/serve", {})["model"]
        self._ended(f"{path}/live", lambda found: found["loaded"] == found["replicas"])
        body = {"suite": self.post("/hub/suites", suite)["id"], "model": model, "version": version["id"]}
        made = self.post("/hub/evaluations", body | {"against": self._base})
        return self._ended(f"/hub/evaluations/{made['id']}", lambda found: found["ended_at"])

    def release(self, version: Json, evaluation: Json, status: int = 200) -> Json:
        """Begins a release with half of the requests."""
        body = {"alias": self._alias, "version": version["id"], "evaluation": evaluation["id"], "share": 0.5}
        return self.post("/hub/releases", body, status)

    def until_decided(self, release: Json, questions: Iterable[str]) -> Json:
        """Asks questions until a release has ended by itself, and returns it."""
        path = f"/hub/releases/{release['id']}"
        for number, question in enumerate(questions):
            self.ask(question)
            if number % 10 == 9 and (found := self.get(path))["ended_at"]:
                return found
        raise AssertionError(f"nothing was decided: {self.get(path)}")

    def _ended(self, path: str, done: Any) -> Json:
        found: Json = eventually(
            lambda: (now := self.get(path)) and done(now) and now, f"{path} is done", self._patience_s
        )
        return found
