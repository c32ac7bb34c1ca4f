"""Evaluations on the stack: a job scores each prompt once, on behalf of whoever started it."""

from __future__ import annotations

import asyncio

import pytest

from serving.api.background import evaluations as running
from serving.config import Alias, CallAccess, Catalog, Managed, RemoteModel
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.hub.answering import Answering
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

PROMPTS = 30
SUITE = {
    "name": "numbers",
    "prompts": [
        *({"id": f"p{n}", "messages": f"{n}?", "checks": [{"kind": "exact", "text": str(n)}]} for n in range(PROMPTS)),
        {"id": "other", "group": "off_task", "messages": "0?", "checks": [{"kind": "length", "max_characters": 99}]},
    ],
    "judge": {"kind": "model", "model": "judge"},
    "rated": [{"messages": "?", "better": "1", "worse": "one"}, {"messages": "?", "better": "2", "worse": "two"}],
}


def right(message):
    return message.removesuffix("?"), "stop"


def shorter(question):
    if "<answer_A>" not in question:
        return "no judgement", "stop"
    first, second = (question.split(f"<answer_{at}>\n")[1].split(f"\n</answer_{at}>")[0] for at in "AB")
    return ("A" if len(first) < len(second) else "B"), "stop"


async def silent(_message):
    await asyncio.sleep(60)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    says = {"right": right, "wordy": lambda message: (f"It is {right(message)[0]}", "stop"), "judge": shorter}
    scripted = Answering(**says, silent=silent)
    with pytest.MonkeyPatch.context() as patch, Loop() as loop, engine(loop, scripted.app()) as port:
        patch.setattr(running, "TURN_S", 0.05)  # several turns
        models = [RemoteModel(name=name, url=f"http://127.0.0.1:{port}/v1") for name in scripted.says]
        models.append(RemoteModel(name="theirs", url=models[0].url, access=CallAccess(tenants=("evil",))))
        alias = Alias(name="chat", managed=Managed(base="wordy"))
        catalog = Catalog(models=tuple(models), aliases=(alias,))
        with gateway(loop, tmp_path_factory.mktemp("gateway"), catalog) as up, up.client() as http:
            yield up, http, scripted


@pytest.fixture
def http(world):
    return world[1]


@pytest.fixture
def suite(http):
    return http.post("/v1/hub/suites", json=SUITE).raise_for_status().json()["id"]


def evaluated(http, **body):
    made = http.post("/v1/hub/evaluations", json=body).raise_for_status().json()
    url = f"/v1/hub/evaluations/{made['id']}"
    return eventually(lambda: (found := http.get(url).json())["ended_at"] and found, "it has ended")


def test_a_suite_is_stored_once_and_frozen(http, suite):
    again = http.post("/v1/hub/suites", json=SUITE).json()
    assert (again["id"], again["prompts"]) == (suite, PROMPTS + 1)
    changed = http.post("/v1/hub/suites", json=SUITE | {"max_tokens": 9}).json()
    assert (changed["id"] != suite, changed["digest"] != again["digest"]) == (True, True)
    assert http.get(f"/v1/hub/suites/{suite}").json()["suite"]["prompts"][3]["messages"] == "3?"
    listed = http.get("/v1/hub/suites").json()["data"]
    assert [each["id"] for each in listed] == [changed["id"], suite]
    broken = SUITE | {"prompts": [{"id": "p", "messages": "?", "checks": [{"kind": "regex", "pattern": "("}]}]}
    answer = http.post("/v1/hub/suites", json=broken)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompts[0].checks[0].pattern")


def test_a_model_passes_the_gate_and_is_released_with_its_evaluation(world, http, suite):
    asked = len(world[2].asked)
    found = evaluated(http, suite=suite, model="right", against="chat")
    card = found["card"]
    assert (found["status"], found["done"]) == ("completed", PROMPTS + 1)
    assert (card["gate"]["passed"], card["win_rate"]["wins"]) == (True, PROMPTS)
    assert (card["judge"]["kappa"], card["first_token_s"]["candidate"]) == (1, None)
    # Each prompt was answered once by both models, and judged in both orders: turns repeat nothing.
    assert len(world[2].asked) - asked == 2 * (PROMPTS + 1) + 2 * PROMPTS + 2 * len(SUITE["rated"])
    other = evaluated(http, suite=suite, model="wordy", against="right")
    assert [reason["code"] for reason in other["card"]["gate"]["reasons"]] == ["win_rate", "worse", "length"]
    easier = evaluated(http, suite=suite, model="right", against="judge")
    assert easier["card"]["gate"]["passed"]
    for status, evaluation in ((400, other["id"]), (404, "eval_none"), (409, easier["id"]), (200, found["id"])):
        body = {"alias": "chat", "target": "right", "evaluation": evaluation}
        answer = http.post("/v1/hub/releases", json=body)
        assert answer.status_code == status, answer.text
    refused = {"alias": "chat", "target": "wordy", "evaluation": other["id"]}
    assert http.post("/v1/hub/releases", json=refused).status_code == 409


def test_the_card_becomes_that_of_a_version_whose_training_data_has_no_prompt_of_the_suite(world, http, tmp_path):
    up = world[0]
    suite = http.post("/v1/hub/suites", json=SUITE).json()["id"]
    rows = tmp_path / "rows"
    rows.write_text('{"messages": [{"role": "user", "content": "7?"}, {"role": "assistant", "content": "7"}]}\n')
    me = Principal("default", "admin", "key_m")

    async def make():
        versions, datasets = up.services.registry.versions, up.services.registry.datasets
        dataset = await datasets.begin(me, format="trl-sft")
        await datasets.add(me, dataset.id, "train.jsonl", rows)
        await datasets.finish(me, dataset.id, digest="a" * 64, manifest={}, counts={}, people=[])
        given = {"kind": "model", "base": "wordy", "base_digest": "0" * 64, "method": "sft"}
        version = await versions.begin(me, name="tuned", dataset=dataset.id, **given)
        await versions.add(me, version.id, "model.gguf", rows)
        return (await versions.finish(me, version.id)).id

    version = up.loop.do(make())
    found = evaluated(http, suite=suite, model="right", against="wordy", version=version)
    assert found["card"]["shared_prompts"] == ["p7"]
    assert [reason["code"] for reason in found["card"]["gate"]["reasons"]] == ["shared_prompts"]
    assert http.get(f"/v1/hub/versions/{version}").json()["card"] == found["card"]
    body = {"suite": suite, "model": "right", "version": "mver_none"}
    answer = http.post("/v1/hub/evaluations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "version")


def test_an_evaluation_asks_only_what_its_creator_may_call(http, suite):
    for field in ("model", "against"):
        answer = http.post("/v1/hub/evaluations", json={"suite": suite, "model": "right", field: "theirs"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, field)
    judged = SUITE | {"judge": {"kind": "model", "model": "theirs"}}
    foreign = http.post("/v1/hub/suites", json=judged).raise_for_status().json()["id"]
    answer = http.post("/v1/hub/evaluations", json={"suite": foreign, "model": "right"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "suite")
    answer = http.post("/v1/hub/evaluations", json={"suite": "suite_none", "model": "right"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "suite")


def test_an_evaluation_ends_with_the_access_of_its_creator(world, http):
    up = world[0]
    ann = Principal("acme", "ann", "")
    up.loop.do(key_of(up.services, Principal("acme", "bob", ""), role="admin"))  # the last admin cannot be disabled
    key = {"Authorization": f"Bearer {up.loop.do(key_of(up.services, ann, role='admin'))}"}
    suite = http.post("/v1/hub/suites", json=SUITE, headers=key).json()["id"]
    http.post(f"/v1/admin/users/{ann.user}", params={"tenant": "acme"}, json={"disabled": True}).raise_for_status()

    async def start():
        given = {"against": None, "version": None, "caller": {"key_id": "session", "scopes": [], "account": ""}}
        return await up.services.hub.evaluations.create(ann, suite, "right", **given)

    made = up.loop.do(start())
    ended = eventually(
        lambda: (found := up.loop.do(up.services.hub.evaluations.get(ann, made.id))).ended_at and found, "it has ended"
    )
    assert (ended.status, ended.error) == ("failed", "The evaluation's creator no longer has access.")


def test_an_evaluation_is_cancelled_while_a_model_answers(world, http, suite):
    up, _, scripted = world
    made = http.post("/v1/hub/evaluations", json={"suite": suite, "model": "right", "against": "silent"}).json()
    url = f"/v1/hub/evaluations/{made['id']}"
    eventually(lambda: "silent" in scripted.asked, "the model is asked")
    assert http.get(url).json()["status"] == "running"
    for _ in range(2):
        assert http.post(f"{url}/cancel").raise_for_status().json()["status"] == "cancelled"
    running = lambda: up.loop.do(up.services.jobs.unfinished()).get(("evaluate", "running"), 0)  # noqa: E731
    eventually(lambda: not running(), "nobody works on it")
    ended = http.get(url).json()
    assert (ended["status"], ended["card"], ended["done"]) == ("cancelled", None, 0)


def test_an_evaluation_that_is_complete_cannot_be_cancelled(http, suite):
    done = evaluated(http, suite=suite, model="right")
    assert http.post(f"/v1/hub/evaluations/{done['id']}/cancel").status_code == 409
    assert http.get(f"/v1/hub/evaluations/{done['id']}").json()["status"] == "completed"
