"""`headrace evaluate` against a gateway whose models are scripted."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from serving.cli.__main__ import headrace
from serving.config import Alias, Catalog, RemoteModel, Target
from tests.contract.hub.answering import Answering
from tests.contract.running import Loop, engine, gateway

SUITE = """
name: sums
prompts:
  - id: program
    messages: Write f, which doubles its argument.
    checks: [{kind: code, then: "f(21)", expect: "42"}]
  - id: words
    messages: [{role: system, content: Be brief.}, {role: user, content: "What doubles?"}]
    checks: [{kind: regex, pattern: "(?i)^f\\\\b"}]
  - id: other
    group: off_task
    messages: What is a canal?
    checks: [{kind: contains, text: water}]
"""


def right(message):
    said = {
        "Write f, which doubles its argument.": "```python\ndef f(n):\n    return 2 * n\n```",
        "What doubles?": "f does",
        "What is a canal?": "A channel of water.",
    }
    return said[message], "stop"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    scripted = Answering(right=right, wrong=lambda message: ("water", "length"), down=lambda message: None)
    with Loop() as loop, engine(loop, scripted.app()) as port:
        models = tuple(RemoteModel(name=name, url=f"http://127.0.0.1:{port}/v1") for name in scripted.says)
        aliases = (Alias(name="stable", targets=(Target(model="wrong"),)),)
        with gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog(models=models, aliases=aliases)) as up:
            yield up


@pytest.fixture
def evaluate(up, tmp_path):
    def evaluate(*arguments, suite=SUITE, status=0):
        (tmp_path / "suite.yaml").write_text(suite)
        runner = CliRunner(env={"HEADRACE_URL": up.url, "HEADRACE_API_KEY": up.key})
        result = runner.invoke(headrace, ["evaluate", "--suite", str(tmp_path / "suite.yaml"), *arguments])
        assert result.exit_code == status, result.output
        return result

    return evaluate


def test_a_model_is_compared_with_an_alias(evaluate):
    card = json.loads(evaluate("--model", "right", "--against", "stable", "--json").stdout)
    assert card["correct"] | {} == {
        "candidate": {"value": 1, "low": 0.3424, "high": 1, "total": 2},
        "against": {"value": 0, "low": 0, "high": 0.6576, "total": 2},
    }
    assert card["win_rate"]["wins"] == 2
    assert card["off_task"]["candidate"]["value"] == card["off_task"]["against"]["value"] == 1
    assert card["truncated"]["against"]["value"] == 1
    assert card["first_token_s"]["candidate"]["p50"] <= card["seconds"]["candidate"]["p95"]
    assert card["tokens_per_second"]["candidate"] > 0
    assert card["gate"]["reasons"] == [
        {"code": "win_rate", "message": "The lower bound of the win rate is 0.342, which does not exceed 0.5."},
        {"code": "length", "message": card["gate"]["reasons"][1]["message"]},
    ]


def test_the_card_is_a_table_for_people(evaluate):
    said = evaluate("--model", "right", "--against", "stable")
    lines = said.stdout.splitlines()
    assert lines[0].startswith("suite sums ")
    assert lines[1].split() == ["MEASURE", "RIGHT", "STABLE"]
    assert "win rate 1.000 (0.342 to 1.000) (2 wins, 0 ties, 0 losses, judge checks)" in lines
    assert "gate: refused" in lines
    assert "3 of 3 prompts" in said.stderr


def test_a_model_that_is_down_has_errors(evaluate):
    card = json.loads(evaluate("--model", "down", "--json").stdout)
    assert card["errors"] == {"candidate": {"value": 1, "low": 0.4385, "high": 1, "total": 3}, "against": None}
    assert card["gate"] is None


def test_prompts_in_the_training_data_are_named(evaluate, tmp_path):
    rows = [
        {"prompt": [{"role": "user", "content": "what is a canal"}], "completion": []},
        {"messages": [{"role": "assistant", "content": "What doubles?"}]},
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ("--model", "right", "--against", "stable", "--training", str(tmp_path / "train.jsonl"), "--json")
    card = json.loads(evaluate(*arguments).stdout)
    assert card["shared_prompts"] == ["other"]


@pytest.mark.parametrize(
    ("arguments", "suite", "status", "said"),
    [
        (("--model", "typo"), SUITE, 1, "(404"),
        (("--model", "right"), "a: [", 2, "is not YAML"),
        (("--model", "right"), SUITE.replace("kind: code", "kind: prose"), 2, "prompts[0].checks[0]"),
        (("--model", "right"), SUITE.replace("(?i)", "("), 2, "prompts[1].checks[0].pattern"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_asked(evaluate, arguments, suite, status, said):
    assert said in evaluate(*arguments, suite=suite, status=status).stderr
