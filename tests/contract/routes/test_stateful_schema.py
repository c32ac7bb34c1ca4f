"""Schemathesis, stateful: along the document's links, what one request makes is what the next ones read and delete."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import FlakyStrategyDefinition

from serving.config import Assistant, Catalog, FactsMemory, RemoteModel
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.campaigns.engine import Engine
from tests.contract.running import Gateway, Loop, engine, gateway
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.long

SEED = int(os.environ.get("HEADRACE_SCHEMA_SEED", "6"))
STEPS = 12
BATCH = 20
"""Scenarios before the number of cases is looked at."""
SIMPLE = {
    "POST /v1/chat/completions": {"model": "m", "store": True, "messages": [{"role": "user", "content": "hi"}]},
    "POST /v1/responses": {"model": "m", "input": "hi"},
    "POST /v1/conversations/{conversation_id}/items": {"items": [{"role": "user", "content": "hi"}]},
}
"""Requests that are answered, by operation."""
UPLOAD = [("file", ("river.md", b"# A river\n\nIt flows.\n")), ("purpose", (None, "assistants"))]


class Retrieval:
    """Finds nothing."""

    def __init__(self) -> None:
        self.call = self

    async def remote(self, method: str, *args: Any) -> list[object]:
        return []


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    """The API in this process, over a real store and before a scripted engine."""
    postgres: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    database = postgres.database() if postgres is not None else None
    with Loop() as loop, engine(loop, Engine().app()) as port:
        model = RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", tokenizer="vllm")
        assistant = Assistant(name="knows", model="m", memory=FactsMemory())
        catalog = Catalog(models=(model,), assistants=(assistant,))
        with gateway(loop, tmp_path, catalog, retrieval=Retrieval(), database=database) as up:
            yield up


def aimed(case: Any) -> None:
    """Makes a request name what is there where it may name anything of that kind, and say something simple.

    Else nearly every answer is a 404 or a 400 and leads nowhere: what one request can say wrong, and what no schema
    says of it, is tried by `tests/contract/routes/test_schema.py`.
    """
    if case.query is not None:
        case.query.pop("tenant", None)  # any but one's own is a 404
    body = case.body
    if not isinstance(body, dict):
        return
    for name, there in (("model", "m"), ("assistant", "knows")):
        if isinstance(given := body.get(name), str) and 1 <= len(given) <= 128:
            body[name] = there
    if not case.meta.generation.mode.is_positive:
        return
    if case.operation.label in SIMPLE:
        # What a link brought stays. An answer that is not stored could not be followed.
        given = {name: body[name] for name in ("conversation", "previous_response_id") if name in body}
        if "conversation" in given:
            given.pop("previous_response_id", None)
        if "model" in SIMPLE[case.operation.label]:
            given["stream"] = body.get("stream") is True
        case.body = SIMPLE[case.operation.label] | given
    elif case.operation.label == "POST /v1/feedback":
        body["thumb"] = "up"
        body.pop("rejected", None)
    elif case.operation.label == "POST /v1/admin/keys":
        body["user"] = "u"
    elif case.operation.label == "POST /v1/vector_stores" and not str(body.get("file_ids")).startswith("['file-"):
        body.pop("file_ids", None)  # no link brought them


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("cases", "part"), [(400, 0.1), pytest.param(20_000, 0.5, marks=pytest.mark.soak)])
def test_no_sequence_of_requests_breaks_the_server(served: Gateway, cases: int, part: float) -> None:
    """Sends the cases; links must have reached with success that part of what they lead to, else they show little."""
    import schemathesis  # takes seconds, for which each process that collects this module would wait
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation.stateful import run_state_machine_as_test
    from schemathesis.specs.openapi import checks as of

    conformance = (of.status_code_conformance, of.content_type_conformance, of.response_schema_conformance)
    always = [not_a_server_error, *conformance, of.use_after_free, of.negative_data_rejection]
    document = httpx.get(f"{served.url}/openapi.json", timeout=60).json()
    # Without it each case brings a key of its own, and most are a 401; keys have tests of their own.
    del document["components"]["securitySchemes"]
    schema = schemathesis.openapi.from_dict(document)
    # Links that are guessed from names lead to 404s mostly; the document's own are complete.
    schema.config.phases.stateful.inference.algorithms = []
    statuses: Counter[int] = Counter()
    linked: set[str] = set()
    problems: list[str] = []
    number = count()

    class Machine(schema.as_state_machine()):  # type: ignore[misc]
        def step(self, input: Any) -> Any:
            output = super().step(input)
            if input.is_applied and input.transition is not None and output.response.status_code < 300:
                linked.add(output.case.operation.label)
            return output

        def setup(self) -> None:
            # What is deleted takes with it what hangs on it (an answer its ratings, a conversation its completions),
            # which the check for what should be there cannot know: it is asked as long as nothing was deleted.
            self.deleted = False
            # Each scenario is a tenant's own: what is there depends on what it did, and on no scenario before it.
            own = Principal(tenant=f"t{next(number)}", user="u", key_id="")
            key = served.loop.do(key_of(served.services, own, role="admin"))
            self.headers = {"Authorization": f"Bearer {key}"}

        def before_call(self, case: Any) -> None:
            aimed(case)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            call = {"base_url": served.url, "headers": self.headers, "timeout": 300}
            # A file of its own making has no name, and only names tell of what kind a file is.
            named = case.operation.label == "POST /v1/files" and case.meta.generation.mode.is_positive
            return call | ({"files": UPLOAD} if named else {})

        def validate_response(self, response: Any, case: Any, additional_checks: Any = None, **given: Any) -> None:
            statuses[response.status_code] += 1
            checks = always
            if not self.deleted and names_the_path(response):
                checks = [*always, of.ensure_resource_availability]
            # A form cannot say an empty list: the field is left out, and what is left may be right.
            if isinstance(case.body, dict) and [] in case.body.values() and case.media_type == "multipart/form-data":
                checks = [check for check in checks if check is not of.negative_data_rejection]
            # Whoever ends a user's sessions empties a list, which stays.
            if case.operation.path == "/v1/admin/users/{user_id}/sessions":
                checks = [check for check in checks if check is not of.use_after_free]
            else:
                self.deleted |= case.method == "DELETE" and response.status_code == 200
            try:
                case.validate_response(
                    response, checks=checks, headers=self.headers, transport_kwargs=given, recorder=self.recorder
                )
            except BaseException as e:
                problems.append(str(e))
                raise

    used, targets = SEED, linked_to(document)

    while statuses.total() < cases:
        print(f"HEADRACE_SCHEMA_SEED={used}, after {statuses.total()} cases")
        try:
            run_state_machine_as_test(
                seed(used)(Machine),
                settings=settings(
                    max_examples=BATCH,
                    stateful_step_count=STEPS,
                    database=None,
                    phases=[Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except FlakyStrategyDefinition:
            # Answers depend on the time too, and Hypothesis draws what follows from them: the batch ends here. What a
            # check found stands all the same.
            print(f"seed {used} ended early, after {statuses.total()} cases")
        assert problems == []
        used += 1
    print(f"{statuses.total()} cases: {dict(sorted(statuses.items()))}; not reached by a link: {targets - linked}")
    assert len(linked & targets) >= len(targets) * part, "the requests hardly follow from each other"


def names_the_path(response: Any) -> bool:
    """Whether a 404 is about the path; one with a `param` is about something else that the body names."""
    return response.status_code == 404 and response.json()["error"]["param"] is None


def linked_to(document: dict[str, Any]) -> set[str]:
    """Returns the operations that links lead to and that can succeed."""
    operations = {
        op["operationId"]: (f"{method.upper()} {path}", op)
        for path, methods in document["paths"].items()
        for method, op in methods.items()
    }
    targets = {
        link["operationId"]
        for _, op in operations.values()
        for answer in op["responses"].values()
        for link in answer.get("links", {}).values()
    }
    return {operations[id][0] for id in targets if "200" in operations[id][1]["responses"]}
